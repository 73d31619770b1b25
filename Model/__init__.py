"""The network, the scripts that train and measure it, and the classical methods that came before it.

Import what you need, for example ``from Model import adapt``; each script says at the top how to run it.
"""
