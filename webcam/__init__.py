"""Widgets for JupyterLab that receive pictures from the reader's browser: a live webcam, and a field for one picture::

    import helpers
    import webcam
    helpers.init_emotion()

    cam = webcam.Webcam()
    cam                        # shows a Start button; the camera stays off until you press it

    webcam.upload_image()      # drop a picture here: it is labelled and shown

The browser's halves of the widgets are the .js and .css files beside the Python modules.
"""
from webcam.upload import UploadField, upload_image
from webcam.widget import Webcam

__all__ = ["UploadField", "Webcam", "upload_image"]
