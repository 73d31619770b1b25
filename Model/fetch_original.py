"""Download the original network, emotion-ferplus-8.onnx, into Model/.

    python Model/fetch_original.py

It is 35 MB from the ONNX model zoo: from Hugging Face or, if that fails, from GitHub. The file only gets its name after
its size and SHA-256 have been checked. Until then it ends in .part, and a later run replaces what is left of an
interrupted one. A correct file that is already there is not downloaded again. To use the network:
helpers.init_emotion("Model/emotion-ferplus-8.onnx").
"""
import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

import pooch
import requests

NAME = "emotion-ferplus-8.onnx"
SIZE = 35_040_571      # bytes
SHA256 = "a2a2ba6a335a3b29c21acb6272f962bd3d47f84952aaffa03b60986e04efa61c"
ZOO_PATH = "validated/vision/body_analysis/emotion_ferplus/model/" + NAME
URLS = ("https://huggingface.co/onnxmodelzoo/legacy_models/resolve/main/" + ZOO_PATH,
        "https://github.com/onnx/models/raw/main/" + ZOO_PATH)
TIMEOUT = 30           # seconds without an answer, after which the next address is tried


def check_download(path: str | os.PathLike[str], size: int) -> None:
    """Check that a download is not a Git LFS pointer or a web page, and that it has the right size.

    Parameters
    ----------
    path : str or os.PathLike
        The downloaded file.
    size : int
        The size it should have, in bytes.

    Raises
    ------
    ValueError
        If it is not the file that was asked for.
    """
    path = Path(path)
    with open(path, "rb") as file:
        start = file.read(64).lstrip().lower()
    received = path.stat().st_size
    if start.startswith(b"version https://git-lfs"):
        raise ValueError(f"sent a Git LFS pointer of {received} bytes instead of the file")
    if start.startswith(b"<"):
        raise ValueError(f"sent a web page of {received} bytes instead of the file (does your network ask you to sign in?)")
    if received != size:
        raise ValueError(f"sent {received:,} bytes instead of {size:,}: the download was cut short, or it is a different file")


def fetch(path: str | os.PathLike[str], *, urls: Sequence[str] = URLS, sha256: str = SHA256, size: int = SIZE,
          progress: bool = True) -> Path:
    """Download a file of known size and SHA-256 from the first address that has it.

    Until it has been checked, the file has the suffix ``.part`` as well. It is deleted if an error is raised, and if the
    process was killed, the next call replaces it.

    Parameters
    ----------
    path : str or os.PathLike
        Where to put the file.
    urls : sequence of str
        Addresses, tried in this order.
    sha256 : str
        The expected SHA-256, in hexadecimal.
    size : int
        The expected size in bytes.
    progress : bool
        Whether to show a progress bar.

    Returns
    -------
    pathlib.Path
        The file.

    Raises
    ------
    RuntimeError
        If no address returned the file; the message gives the reason for each.
    OSError
        If the file can't be written.
    """
    path = Path(path)
    if path.is_file() and pooch.file_hash(str(path)) == sha256:
        return path
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    reasons = []
    for url in urls:
        host = url.split("/")[2]
        try:
            pooch.HTTPDownloader(progressbar=progress, timeout=TIMEOUT)(url, str(part), None)
            check_download(part, size)
            if pooch.file_hash(str(part)) != sha256:
                raise ValueError("sent a file with a different SHA-256")
            os.replace(part, path)
            return path
        except requests.HTTPError as problem:
            reasons.append(f"{host} answered {problem.response.status_code}")
        except requests.Timeout:
            reasons.append(f"{host} did not answer within {TIMEOUT} seconds")
        except requests.exceptions.ChunkedEncodingError:
            reasons.append(f"{host} closed the connection before the end")
        except requests.RequestException:
            reasons.append(f"{host} can't be reached: are you online?")
        except ValueError as problem:
            reasons.append(f"{host} {problem}")
        finally:
            part.unlink(missing_ok=True)
    raise RuntimeError("; ".join(reasons) + ". Nothing was written. Try again later, or download the file by hand and "
                       "check it as described in Model/README.md.")


def main() -> None:
    """Run the script."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--out", type=Path, default=Path(__file__).resolve().parent / NAME, help="the file to write")
    args = parser.parse_args()
    try:
        path = fetch(args.out)
    except RuntimeError as problem:
        sys.exit(f"{NAME} could not be downloaded: {problem}")
    except OSError as problem:
        sys.exit(f"{args.out} could not be written ({problem.strerror or problem}): "
                 "free some disk space, or choose a different --out")
    print(f"{path} is ready: {SIZE:,} bytes, and its SHA-256 is correct")


if __name__ == "__main__":
    main()
