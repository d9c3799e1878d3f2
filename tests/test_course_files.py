"""The course's ways with image files: collecting them, finding those that cannot be used, making them smaller."""

import http.server
import io
import threading
import time

import numpy as np
import pytest
from PIL import Image, ImageOps

from foveal.core.download import Checksum, Limits, download
from foveal.core.errors import FetchError, ImageError, InputError, UnknownNameError
from foveal.core.listing import L, Path
from foveal.course.downloads import download_images, download_url
from foveal.course.files import get_text_files, resize_image, resize_images, verify_image, verify_images
from foveal.images.decode import decode
from foveal.sources.folders import get_files, get_image_files


def photo(width=75, height=50, seed=0):
    colours = np.random.default_rng(seed).integers(0, 255, (4, 5, 3), dtype=np.uint8)
    return Image.fromarray(colours).resize((width, height), Image.Resampling.BICUBIC)


def encoded(image, kind, **options):
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


JPEG = encoded(photo(), "JPEG")
PNG = encoded(photo(30, 40), "PNG")


# Which files there are


@pytest.fixture
def tree(tmp_path):
    for name in ("a.jpg", "b.JPG", "c.csv", "train/d.png", "train/deep/e.jpg", "valid/f.jpg", "test/g.txt", ".h/i.jpg"):
        file = tmp_path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()
    return tmp_path


def names(files, root):
    assert isinstance(files, L)
    assert all(isinstance(file, Path) for file in files)
    return [file.relative_to(root).as_posix() for file in files]


def test_files_are_found_by_ending_and_folder(tree):
    assert names(get_files(tree), tree) == sorted(
        file.relative_to(tree).as_posix() for file in tree.rglob("*") if file.is_file() and ".h" not in file.parts
    )
    assert names(get_files(tree, [".csv", ".txt"]), tree) == ["c.csv", "test/g.txt"]
    assert names(get_files(tree, ".jpg"), tree) == ["a.jpg", "b.JPG", "train/deep/e.jpg", "valid/f.jpg"]
    assert names(get_files(tree, {"JPG"}, recurse=False), tree) == ["a.jpg", "b.JPG"]
    assert names(get_files(tree, None, True, ["train", "test"]), tree) == [
        "test/g.txt",
        "train/d.png",
        "train/deep/e.jpg",
    ]
    assert names(get_image_files(tree, False), tree) == ["a.jpg", "b.JPG"]
    assert names(get_image_files(tree, folders="train"), tree) == ["train/d.png", "train/deep/e.jpg"]
    assert names(get_image_files(tree, folders=["train"], recurse=False), tree) == ["train/d.png"]
    assert names(get_image_files(tree, folders=[".", "valid"]), tree) == ["a.jpg", "b.JPG", "valid/f.jpg"]
    (tree / "trian.csv").touch()  # a file is no folder to offer
    with pytest.raises(UnknownNameError, match=r"Did you mean `train`\? Known: (?:\w+, )*\w+\."):
        get_image_files(tree, folders=["trian", "valid"])
    with pytest.raises(InputError, match="There is no folder"):
        get_files(tree / "nowhere")


def test_text_is_refused_in_words(tree):
    with pytest.raises(InputError, match="no models of text"):
        get_text_files(tree, folders=["train"])


# Which can be used


def test_what_foveal_cannot_use_is_returned_in_order(tmp_path):
    contents = {
        "whole.jpg": JPEG,
        "cut.jpg": JPEG[: len(JPEG) // 2],
        "end.jpg": JPEG[:-2],
        "empty.jpg": b"",
        "page.jpg": b"<!DOCTYPE html><html></html>",
        "whole.png": PNG,
        "cut.png": PNG[:-30],
        "other.jpg": PNG,
    }
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
    files = [tmp_path / name for name in contents]
    failed = verify_images(files)
    assert isinstance(failed, L)
    assert [file.name for file in failed] == ["cut.jpg", "end.jpg", "empty.jpg", "page.jpg", "cut.png"]
    assert [verify_image(file) for file in files] == [file not in failed for file in files]
    for file in failed:
        with pytest.raises(ImageError):
            decode(file)
    failed.map(Path.unlink)
    assert verify_images(get_image_files(tmp_path)) == []
    assert verify_images(map(str, files[:2])) == [files[1]]
    with pytest.raises(InputError, match="takes a list of files"):
        verify_images(tmp_path)


# Downloads


class Handler(http.server.BaseHTTPRequestHandler):
    """Serves images and what is none; counts what it is asked for."""

    def do_GET(self):
        path = self.path.partition("?")[0]
        self.server.asked.append(path)
        if path == "/gone.jpg":
            self.send_error(404)
            return
        if path == "/moved.jpg":
            self.send_response(302)
            self.send_header("Location", "ftp://127.0.0.1/x.jpg")
            self.end_headers()
            return
        body = {"/page.jpg": b"<!DOCTYPE html><html></html>", "/b": PNG, "/cut.jpg": JPEG[:-100]}.get(path, JPEG)
        self.send_response(200)
        self.send_header("Content-Length", str(len(body) + (5 if path == "/short.jpg" else 0)))
        self.end_headers()
        if path == "/drip.jpg":
            for byte in body[:40]:
                self.wfile.write(bytes([byte]))
                time.sleep(0.05)
        elif path == "/silent.jpg":
            self.server.done.wait(10)
        else:
            self.wfile.write(body)

    def log_message(self, *_):
        pass


@pytest.fixture
def server():
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as httpd:
        httpd.asked, httpd.done = [], threading.Event()
        thread = threading.Thread(target=httpd.serve_forever, args=(0.02,))
        thread.start()
        httpd.address = f"http://127.0.0.1:{httpd.server_port}"
        yield httpd
        httpd.done.set()
        httpd.shutdown()
        thread.join()


def test_images_are_fetched_once_and_failures_named_at_the_end(server, tmp_path, capsys):
    dest = tmp_path / "bears" / "grizzly"
    bad = ["/gone.jpg", "/page.jpg", "/short.jpg", "/moved.jpg", "/silent.jpg"]
    good = ["/a.jpg", "/b", "/cut.jpg", "/a.jpg?size=large", "/ü ü.png"]
    urls = [f"{server.address}{path}" for path in [*good, *bad, "/a.jpg"]] + ["data:image/png;base64,AAAA"]
    files = download_images(dest, urls=L(urls), timeout=1.5)
    assert isinstance(files, L)
    assert [file.suffix for file in files] == [".jpg", ".png", ".jpg", ".jpg", ".jpg"]
    assert [file.read_bytes() for file in files] == [JPEG, PNG, JPEG[:-100], JPEG, JPEG]
    assert sorted(files) == sorted(dest.iterdir())
    assert verify_images(files) == [files[2]]
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == f"{dest}: 5 images, 0 of them from before."
    assert lines[1] == "6 of 11 addresses gave no image:"
    reasons = ["Not Found", "an HTML page", "ended after", "Only http and https", "timed out", "Only http and https"]
    for line, address, reason in zip(lines[2:], [*urls[5:10], urls[-1]], reasons, strict=True):
        assert line.startswith(f"{address}: ")
        assert reason in line
    # Again: only what is missing is asked for.
    server.asked.clear()
    assert download_images(dest, urls=urls[:7]) == files
    assert sorted(server.asked) == ["/gone.jpg", "/page.jpg"]
    assert "5 images, 5 of them from before" in capsys.readouterr().out


def test_addresses_may_come_from_a_file_and_are_bounded(server, tmp_path, capsys):
    listed = tmp_path / "urls.txt"
    listed.write_text("\ufeff" + "".join(f"{server.address}/{i}.jpg\r\n\n" for i in range(5)), encoding="utf-8")
    files = download_images(tmp_path / "x", listed, max_pics=3, n_workers=1)
    assert len(files) == 3
    assert server.asked == ["/0.jpg", "/1.jpg", "/2.jpg"]
    assert "2 addresses more than max_pics=3 were left out." in capsys.readouterr().out
    for arguments, message in (
        ({}, "one of the two"),
        ({"urls": ["a"], "url_file": listed}, "one of the two"),
        ({"url_file": tmp_path / "nowhere.txt"}, "no text file"),
        ({"urls": ["a"], "max_pics": 0}, "`max_pics` must be above 0"),
        ({"urls": ["a"], "timeout": 0}, "`timeout` must be above 0"),
    ):
        with pytest.raises(InputError, match=message):
            download_images(tmp_path / "y", **arguments)
    assert not (tmp_path / "y").exists()


def test_names_of_addresses_are_kept_on_request_and_stay_in_the_folder(server, tmp_path):
    paths = ["/one.jpg", "/p%2F..%2F..%2Fevil.jpg", "/x/two.JPG?a=1", "/y/two.jpg", "/b", "/..jpg", "/"]
    urls = [server.address + path for path in paths]
    files = download_images(tmp_path / "x", urls=urls, preserve_filename=True)
    found = [file.name for file in files]
    assert found[0] == "one.jpg"
    assert found[1] == "evil.jpg"
    assert found[4] == "b.png"
    assert all(name.startswith("two-") for name in found[2:4])
    assert len(set(found)) == 7
    assert {file.parent for file in files} == {tmp_path / "x"}
    server.asked.clear()
    assert download_images(tmp_path / "x", urls=urls, preserve_filename=True) == files
    assert server.asked == []


def test_a_download_is_bounded_in_size_and_time(server, tmp_path):
    with pytest.raises(FetchError, match="sends more than the 100 bytes"):
        download(f"{server.address}/a.jpg", tmp_path / "a", None, limits=Limits(n_bytes=100))
    began = time.monotonic()
    with pytest.raises(FetchError, match="takes too long"):
        download(f"{server.address}/drip.jpg", tmp_path / "b", None, limits=Limits(seconds=0.3))
    assert time.monotonic() - began < 2
    with pytest.raises(FetchError, match="expected 00000000"):
        download(f"{server.address}/a.jpg", tmp_path / "c", Checksum("00000000"))
    assert not any((tmp_path / name).exists() for name in "abc")


def test_one_file_is_downloaded_and_replaces_another(server, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    target = tmp_path / "deep" / "bird.jpg"
    assert download_url(f"{server.address}/a.jpg", target, show_progress=False) == target
    assert target.read_bytes() == JPEG
    download_url(f"{server.address}/b", target)
    assert target.read_bytes() == PNG
    assert download_url(f"{server.address}/x/my%20page.html?q=1").resolve() == tmp_path / "my page.html"
    assert download_url(f"{server.address}/a.jpg", tmp_path / "deep") == tmp_path / "deep" / "a.jpg"
    with pytest.raises(InputError, match="has no name for a file"):
        download_url(server.address)
    for path in ("/gone.jpg", "/short.jpg", "/silent.jpg"):
        with pytest.raises(FetchError):
            download_url(f"{server.address}{path}", target, timeout=0.3)
    assert target.read_bytes() == PNG
    assert sorted(entry.name for entry in target.parent.iterdir()) == ["a.jpg", "bird.jpg"]


# Smaller copies


@pytest.fixture
def folder(tmp_path):
    root = tmp_path / "images"
    (root / "deep").mkdir(parents=True)
    photo(300, 200).save(root / "wide.png")
    photo(90, 301).save(root / "tall.jpg", quality=95)
    photo(40, 30).save(root / "small.jpg")
    photo(40, 30).convert("L").save(root / "grey.png")
    photo(40, 30).convert("RGBA").save(root / "deep" / "clear.png")
    exif = Image.Exif()
    exif[0x0112] = 6
    photo(300, 200).save(root / "deep" / "turned.jpg", exif=exif, quality=95)
    return root


@pytest.mark.parametrize("resample", [Image.Resampling.BILINEAR, Image.Resampling.LANCZOS])
def test_copies_are_what_pillow_makes_of_the_upright_image(folder, tmp_path, resample):
    dest = tmp_path / "small"
    files = resize_images(folder, max_size=100, dest=dest, recurse=True, resample=resample)
    assert [file.relative_to(dest) for file in files] == [f.relative_to(folder) for f in get_image_files(folder)]
    sizes = {"wide.png": (100, 66), "tall.jpg": (29, 100), "deep/turned.jpg": (66, 100)}
    for name, size in sizes.items():
        with Image.open(folder / name) as opened:
            upright = ImageOps.exif_transpose(opened).convert("RGB")
        expected = np.asarray(upright.resize(size, resample)).astype(int)
        with Image.open(dest / name) as made:
            assert made.size == size
            assert made.getexif().get(0x0112, 1) == 1
            difference = np.abs(np.asarray(made.convert("RGB")) - expected)
        assert difference.max() == 0 if name == "wide.png" else difference.mean() < 4
    assert (dest / "small.jpg").read_bytes() == (folder / "small.jpg").read_bytes()
    for name in ("grey.png", "deep/clear.png"):
        with Image.open(dest / name) as made:
            assert (made.mode, made.size) == ("RGB", (40, 30))
            np.testing.assert_array_equal(np.asarray(made), decode(folder / name))


def size_of(file):
    with Image.open(file) as image:
        return image.size


def test_images_are_replaced_in_place_and_resumed(folder):
    small = (folder / "small.jpg").read_bytes()
    files = resize_images(folder, max_size=100, dest=folder)
    assert [max(size_of(file)) for file in files] == [40, 40, 100, 100]
    assert (folder / "small.jpg").read_bytes() == small
    assert max(size_of(folder / "deep" / "turned.jpg")) == 300
    inside = folder / "256"
    first = resize_images(folder, dest=inside, max_size=20, recurse=True)
    assert len(first) == 6
    assert resize_images(folder, dest=inside, max_size=20, recurse=True) == first  # its own copies are not copied
    (inside / "wide.png").write_bytes(b"mine")
    resize_images(folder, dest=inside, max_size=20, resume=True)
    assert (inside / "wide.png").read_bytes() == b"mine"
    resize_images(folder, dest=inside, max_size=20)
    assert size_of(inside / "wide.png") == (20, 13)


def test_another_ending_is_another_format(folder, tmp_path):
    dest = tmp_path / "made"
    made = resize_image("wide.png", dest, folder, ext=".jpg", quality=30)
    assert made == dest / "wide.jpg"
    with Image.open(made) as image:
        assert (image.format, image.size) == ("JPEG", (300, 200))
    assert made.stat().st_size < resize_image("wide.png", dest, folder, ext="jpg", quality=95).stat().st_size
    with Image.open(resize_image("small.jpg", dest, folder, img_format="png", n_channels=1)) as image:
        assert (image.format, image.mode) == ("PNG", "L")


def test_what_cannot_be_used_is_left_out_and_named_once(folder, tmp_path, capsys):
    (folder / "cut.jpg").write_bytes(JPEG[:-50])
    (folder / "page.png").write_bytes(b"<html></html>")
    files = resize_images(folder, dest=tmp_path / "x", max_size=10, max_workers=2)
    assert [file.name for file in files] == ["grey.png", "small.jpg", "tall.jpg", "wide.png"]
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "2 of 6 images were left out:"
    assert [line.partition(": ")[0] for line in lines[1:]] == [str(folder / "cut.jpg"), str(folder / "page.png")]
    assert sorted(path.name for path in (tmp_path / "x").iterdir()) == [file.name for file in files]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"max_size": 0}, "`max_size` is a number of pixels above 0"),
        ({"n_channels": 4}, "`n_channels` is 3 .* or 1"),
        ({"img_format": "jpgg"}, "a format that Pillow writes"),
        ({"qualty": 3}, "Did you mean `quality`"),
        ({"ext": ".jpg"}, "would both become"),
    ],
)
def test_options_that_mean_nothing_are_refused(folder, tmp_path, options, message):
    photo().save(folder / "tall.png")
    with pytest.raises(InputError, match=message):
        resize_images(folder, dest=tmp_path / "x", **options)
    assert not (tmp_path / "x").exists()
    with pytest.raises(InputError, match="There is no folder"):
        resize_images(folder / "nowhere", max_size=10)
