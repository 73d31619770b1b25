"""Model/fetch_original.py, with a local server that misbehaves in many ways."""
import hashlib
import http.server
import os
import subprocess
import sys
import threading
from pathlib import Path

import onnx
import pooch
import pytest
from conftest import ROOT

import helpers
from Model import fetch_original
from Model.vgg13 import build_vgg13

CONTENT = bytes(range(256)) * 2000
SHA256 = hashlib.sha256(CONTENT).hexdigest()


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.server.asked.append(self.path)
        body = {"/good": CONTENT, "/page": b"<!DOCTYPE html><title>Sign in</title>", "/other": CONTENT[::-1],
                "/pointer": b"version https://git-lfs.github.com/spec/v1\noid sha256:a2a2\nsize 35040571\n",
                "/short": CONTENT[:1000], "/empty": b"", "/broken": CONTENT}.get(self.path)
        if body is None:
            return self.send_error(404)
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body[:len(body) // 2] if self.path == "/broken" else body)

    def log_message(self, *words):
        pass


@pytest.fixture
def server():
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as running:
        running.asked = []
        running.url = f"http://127.0.0.1:{running.server_port}"
        thread = threading.Thread(target=running.serve_forever)
        thread.start()
        yield running
        running.shutdown()
        thread.join()


def fetch(folder, *urls):
    return fetch_original.fetch(folder / "file.onnx", urls=urls, sha256=SHA256, size=len(CONTENT), progress=False)


def test_a_complete_file_is_downloaded_once(server, tmp_path):
    path = fetch(tmp_path, server.url + "/good")
    assert path.read_bytes() == CONTENT and os.listdir(tmp_path) == ["file.onnx"]
    fetch(tmp_path, server.url + "/good")
    assert server.asked == ["/good"]


@pytest.mark.parametrize("first", ["/page", "/pointer", "/short", "/empty", "/other", "/broken", "/missing"])
def test_the_second_address_is_tried(first, server, tmp_path):
    assert fetch(tmp_path, server.url + first, server.url + "/good").read_bytes() == CONTENT
    assert server.asked == [first, "/good"] and os.listdir(tmp_path) == ["file.onnx"]


@pytest.mark.parametrize("path, words", [
    ("/page", "a web page of 37 bytes"), ("/pointer", "Git LFS pointer of 73 bytes"), ("/short", "1,000 bytes instead"),
    ("/empty", "0 bytes instead"), ("/other", "a different SHA-256"), ("/broken", "closed the connection before the end"),
    ("/missing", "answered 404")])
def test_the_error_names_the_reason_and_nothing_is_left(path, words, server, tmp_path):
    with pytest.raises(RuntimeError, match=words):
        fetch(tmp_path, server.url + path)
    assert os.listdir(tmp_path) == []


def test_no_network(tmp_path):
    with pytest.raises(RuntimeError, match="can't be reached: are you online"):
        fetch(tmp_path, "http://127.0.0.1:9/good")             # the discard port, where nothing listens
    assert os.listdir(tmp_path) == []


def test_a_server_that_does_not_answer(server, tmp_path, monkeypatch):
    waiting = threading.Event()
    monkeypatch.setattr(Handler, "do_GET", lambda self: waiting.wait(30))
    monkeypatch.setattr(fetch_original, "TIMEOUT", 0.2)
    with pytest.raises(RuntimeError, match="did not answer within 0.2 seconds"):
        fetch(tmp_path, server.url + "/good")
    waiting.set()
    assert os.listdir(tmp_path) == []


def test_an_old_file_survives_a_failed_download(server, tmp_path):
    (tmp_path / "file.onnx").write_bytes(b"mine")
    with pytest.raises(RuntimeError):
        fetch(tmp_path, server.url + "/page")
    assert (tmp_path / "file.onnx").read_bytes() == b"mine"
    assert fetch(tmp_path, server.url + "/good").read_bytes() == CONTENT


def test_an_interrupt_leaves_nothing(server, tmp_path, monkeypatch):
    def interrupted(self, url, output, asker):
        if hasattr(output, "write"):
            output.write(CONTENT[:5000])
        else:
            Path(output).write_bytes(CONTENT[:5000])
        raise KeyboardInterrupt

    monkeypatch.setattr(pooch.HTTPDownloader, "__call__", interrupted)
    with pytest.raises(KeyboardInterrupt):
        fetch(tmp_path, server.url + "/good")
    assert os.listdir(tmp_path) == []


def test_what_a_killed_download_left_is_replaced(server, tmp_path):
    program = ("import os; from pathlib import Path; from Model import fetch_original as f\n"
               "def killed(self, url, output, caller):\n"
               "    Path(output).write_bytes(bytes(5000)); os._exit(9)\n"
               "f.pooch.HTTPDownloader.__call__ = killed\n"
               f"f.fetch({str(tmp_path / 'file.onnx')!r}, urls=['http://127.0.0.1:9/good'], progress=False)")
    assert subprocess.run([sys.executable, "-c", program], timeout=60).returncode == 9
    assert os.listdir(tmp_path) == ["file.onnx.part"]
    assert fetch(tmp_path, server.url + "/good").read_bytes() == CONTENT
    assert os.listdir(tmp_path) == ["file.onnx"]


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no limit on a process's file size")
def test_a_full_disk(server, tmp_path):
    program = ("import resource, sys; from Model import fetch_original as f\n"
               "resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))\n"      # no file may grow larger
               f"f.fetch.__kwdefaults__ = dict(urls=[{server.url + '/good'!r}], sha256={SHA256!r}, size={len(CONTENT)},\n"
               "                                progress=False)\n"
               f"sys.argv = ['fetch', '--out', {str(tmp_path / 'file.onnx')!r}]; f.main()")
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert done.returncode == 1 and "could not be written" in done.stderr and "free some disk space" in done.stderr
    assert os.listdir(tmp_path) == []


def test_the_addresses_are_those_of_the_model_zoo():
    assert [url.split("/")[2] for url in fetch_original.URLS] == ["huggingface.co", "github.com"]
    assert all(url.startswith("https://") and url.endswith("/emotion_ferplus/model/emotion-ferplus-8.onnx")
               for url in fetch_original.URLS)
    assert fetch_original.SHA256 in (ROOT / "Model" / "README.md").read_text()


@pytest.fixture(scope="module")
def vgg13(tmp_path_factory):
    path = tmp_path_factory.mktemp("vgg13") / "vgg13.onnx"      # under its real name, another SHA-256 is refused
    onnx.save(build_vgg13(), path)
    return path


def test_vgg13_has_the_structure_of_the_original(vgg13):
    graph = onnx.load(vgg13).graph
    shape = [d.dim_value for d in graph.input[0].type.tensor_type.shape.dim]
    assert (graph.input[0].name, shape, graph.output[0].name) == ("Input3", [1, 1, 64, 64], "Plus692_Output_0")
    assert abs(vgg13.stat().st_size - fetch_original.SIZE) < 10_000
    assert [n.op_type for n in graph.node].count("Conv") == 10 and onnx.load(vgg13).opset_import[0].version == 8


def test_a_network_of_the_same_structure_just_works(vgg13, pictures):
    helpers.init_emotion(vgg13)
    faces = helpers.detect_emotions(pictures["four_people"])
    assert len(faces) == 4
    crops = [helpers.preprocess(helpers.crop_face(pictures["four_people"], face["box"])) for face in faces]
    single = [helpers.softmax(helpers.forward(helpers.load_network(vgg13), crop))[0] for crop in crops]
    for face, alone in zip(faces, single):
        assert abs(sum(face["emotions"].values()) - 1) < 1e-6
        assert max(abs(a - b) for a, b in zip(face["emotions"].values(), alone)) < 1e-5
