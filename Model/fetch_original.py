"""Fetch the original network, emotion-ferplus-8.onnx, into Model/.

    python Model/fetch_original.py

35 MB out of the ONNX model zoo: from Hugging Face, and if that fails from GitHub. The file is in its place only
when it came whole and its SHA-256 is right; whatever happens, no part of it is left behind. A file that is there
and right is not fetched again. Then: helpers.init_emotion("Model/emotion-ferplus-8.onnx").
"""
import argparse
import sys
from pathlib import Path

import pooch
import requests

NAME = "emotion-ferplus-8.onnx"
SIZE = 35_040_571      # bytes
SHA256 = "a2a2ba6a335a3b29c21acb6272f962bd3d47f84952aaffa03b60986e04efa61c"
PLACE = "validated/vision/body_analysis/emotion_ferplus/model/" + NAME
SOURCES = ("https://huggingface.co/onnxmodelzoo/legacy_models/resolve/main/" + PLACE,
           "https://github.com/onnx/models/raw/main/" + PLACE)
PATIENCE = 30          # seconds without an answer, then the next source is asked


def look(path, size):
    """Raise ValueError, in a sentence, when a download is not the file that was asked for."""
    path = Path(path)
    with open(path, "rb") as file:
        start = file.read(64).lstrip().lower()
    got = path.stat().st_size
    if start.startswith(b"version https://git-lfs"):
        raise ValueError(f"sent a Git LFS pointer of {got} bytes instead of the file")
    if start.startswith(b"<"):
        raise ValueError(f"sent a web page of {got} bytes instead of the file (a sign-in page of your network?)")
    if got != size:
        raise ValueError(f"sent {got:,} bytes instead of {size:,}: cut short, or another file")


def fetch(path, sources=SOURCES, sha256=SHA256, size=SIZE, progress=True):
    """Download a file of known size and SHA-256 to `path`, from the first source that has it.

    Returns the path. Raises RuntimeError with a sentence per source when none of them gave the file, and OSError
    when it can't be written. Until it is whole and checked, the file has another name, which goes with an error.
    """
    path = Path(path)

    def download(url, output, asker):
        pooch.HTTPDownloader(progressbar=progress, timeout=PATIENCE)(url, output, asker)
        look(output, size)

    said = []
    for url in sources:
        host = url.split("/")[2]
        try:
            pooch.retrieve(url, f"sha256:{sha256}", path.name, path.parent, downloader=download)
            return path
        except requests.HTTPError as problem:
            said.append(f"{host} answered {problem.response.status_code}")
        except requests.Timeout:
            said.append(f"{host} did not answer within {PATIENCE} seconds")
        except requests.exceptions.ChunkedEncodingError:
            said.append(f"{host} broke off half-way")
        except requests.RequestException:
            said.append(f"{host} can't be reached: is there a network?")
        except ValueError as problem:
            words = str(problem)
            said.append(f"{host} " + (words if words.startswith("sent") else "sent a file with another SHA-256"))
    raise RuntimeError("; ".join(said) + ". Nothing was written. Try again later, or download the file by hand and "
                       "check it as Model/README.md says.")


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--out", type=Path, default=Path(__file__).resolve().parent / NAME, help="where it goes")
    args = parser.parse_args()
    pooch.get_logger().setLevel("WARNING")
    try:
        path = fetch(args.out)
    except RuntimeError as problem:
        sys.exit(f"{NAME} could not be fetched: {problem}")
    except OSError as problem:
        sys.exit(f"{args.out} could not be written ({problem.strerror or problem}): make room, or choose another --out")
    print(f"{path} is in place: {SIZE:,} bytes, SHA-256 as expected")


if __name__ == "__main__":
    main()
