"""The network, what is needed to train and measure it, and the classical methods that came before it.

Modules to import: `ferplus` (data and labels), `adapt` (a new last layer), `damage` (simulated image corruptions) and
`classical` (the methods of notebooks 13 to 17). The scripts, such as train.py and evaluate.py, say at the top how to
run them.
"""
