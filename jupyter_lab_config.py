"""Settings for JupyterLab, used with --config=jupyter_lab_config.py, as `make lab` does. They do three things.

1. A link to a Markdown file, such as the contents or the glossary, opens as a page, not as text to edit.
2. JupyterLab does not fetch news from the internet. (Both settings are in .jupyterlab/overrides.json.)
3. The webcam has a shorter delay. Jupyter's server holds a small message back until the browser has acknowledged the
   previous one, up to 40 ms (Nagle's algorithm); TCP_NODELAY sends it at once. If this doesn't work with a later
   version of Jupyter, JupyterLab starts without it.
"""
from pathlib import Path

c = get_config()  # noqa: F821, Jupyter puts it here
c.LabApp.app_settings_dir = str(Path(__file__).resolve().parent / ".jupyterlab")


def answer_at_once():
    """Set TCP_NODELAY on each connection to a kernel."""
    from jupyter_server.services.kernels.websocket import KernelWebsocketHandler
    original = KernelWebsocketHandler.open

    def open_without_delay(self, *args, **kwargs):
        try:
            self.set_nodelay(True)
        except Exception as problem:
            self.log.info("TCP_NODELAY was not set: %s", problem)
        return original(self, *args, **kwargs)

    KernelWebsocketHandler.open = open_without_delay


try:
    answer_at_once()
except Exception as problem:     # JupyterLab starts anyway
    print(f"jupyter_lab_config.py: the webcam runs at Jupyter's usual speed ({type(problem).__name__}: {problem})")
