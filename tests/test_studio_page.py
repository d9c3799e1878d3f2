"""The studio's page in a real Chromium: labelled by keys, checked, taken back, on a phone and for a screen reader."""

import csv
import time

import pytest
from playwright.sync_api import expect

from serving import studio_of


def rows_of(table):
    with table.open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def pets(photographs, tmp_path_factory):
    """A folder with 154 pets, of which four are mirrored copies."""
    from PIL import Image, ImageOps

    folder = tmp_path_factory.mktemp("pets") / "pets"
    folder.mkdir()
    for file in sorted((photographs / "pets_mini" / "images").glob("*.jpg"))[::2][:150]:
        (folder / file.name).write_bytes(file.read_bytes())
    for file in sorted(folder.glob("*.jpg"))[:4]:
        ImageOps.mirror(Image.open(file)).save(folder / f"{file.stem}_copy.jpg")
    return folder


@pytest.fixture
def opened(watched_page):
    """A function that opens a studio's page; what it complains of fails the test."""
    pages = []

    def open_page(service, **options):
        pages.append(watched_page(service, **options))
        return pages[-1]

    yield open_page
    for page in pages:
        assert [one for one in page.complaints if "ERR_CONNECTION" not in one] == []  # the studio has ended


def label_by_keys(page, n, key_of):
    expect(page.locator("#name")).not_to_be_empty()
    for _ in range(n):
        name = page.inner_text("#name")
        page.keyboard.press(key_of(name))
        expect(page.locator("#name")).not_to_have_text(name)


def certainty(image):
    return image["answer"]["likely"][0][1] if image["label"] == image["answer"]["label"] else 0.0


def until(holds):
    for _ in range(300):
        if holds():
            return
        time.sleep(0.1)
    raise TimeoutError


def is_cat(name):
    return name[:1].isupper()


def test_a_folder_is_labelled_checked_and_cleared_of_copies(pets, opened):
    with studio_of(pets) as service:
        page = opened(service, viewport={"width": 1280, "height": 860})
        page.fill("#begin-names", "cat, dog")
        page.click("#begin button[type=submit]")
        expect(page.locator("#chips button")).to_have_count(2)
        label_by_keys(page, 30, lambda name: "1" if is_cat(name) else "2")
        expect(page.locator("#score")).to_contain_text("Accuracy", timeout=20_000)
        expect(page.locator("#answered")).to_contain_text("likely")
        last = page.inner_text("#name")
        page.keyboard.press("2" if is_cat(last) else "1")  # wrong, and taken back
        expect(page.locator("#back")).to_contain_text(last)
        page.keyboard.press("Backspace")
        expect(page.locator("#name")).to_have_text(last)
        expect(page.locator("#progress")).to_contain_text("30 of 154")
        page.click("nav [data-view=images]")
        page.select_option("#show", "labelled")
        expect(page.locator("#n-found")).to_have_text("30 images")
        page.locator(".tile").first.click()
        expect(page.locator("#answered")).to_have_text("labelled")
        for one in service.json("GET", "/images?n=500&show=open")[1]["images"]:
            label = "cat" if is_cat(one["name"]) else "dog"
            assert service.post("/decide", {"session": "other", "image": one["image"], "label": label})[0] == 200
        until(lambda: service.json("GET", "/state?session=other")[1]["learned_from"] == 154)
        copied = {file.name.replace("_copy", "") for file in pets.glob("*_copy.jpg")}
        images = service.json("GET", "/images?n=500")[1]["images"]
        sure = sorted((one for one in images if one["name"].replace("_copy", "") not in copied), key=certainty)[-6:]
        for one in sure:
            wrong = {"session": "other", "image": one["image"], "label": "dog" if is_cat(one["name"]) else "cat"}
            assert service.post("/decide", wrong)[0] == 200
        names = {one["name"] for one in sure}
        until(lambda: names & {one["name"] for one in service.json("GET", "/issues")[1]})
        page.click("nav [data-view=check]")
        expect(page.locator("#n-issues")).to_be_visible()
        expect(page.locator("#issue")).to_be_visible()
        mended = set()
        for _ in range(12):
            if page.locator("#issue").is_hidden():
                break
            name = page.inner_text("#issue-name").partition(":")[0]
            is_wrong = name in names
            page.keyboard.press("a" if is_wrong else "k")
            expect(page.locator("#back")).to_contain_text(name)
            mended |= {name} if is_wrong else set()
        assert mended
        page.click("nav [data-view=copies]")
        page.click("#look-for")
        expect(page.locator("#pair")).to_be_visible(timeout=60_000)
        for _ in range(4):
            second = page.inner_text("#second-name")
            page.keyboard.press("2" if "_copy" in second else "1")
            until(lambda seen=second: page.locator("#pair").is_hidden() or page.inner_text("#second-name") != seen)
        expect(page.locator("#pair")).to_be_hidden()
        expect(page.locator("#progress")).to_contain_text("4 left out")
        page.click("nav [data-view=finish]")
        page.click("#exports button:has-text('COCO')")
        expect(page.locator("#exported")).to_contain_text("pets.coco.json")
    left = names - mended
    for row in rows_of(pets / "labels.csv"):
        assert ((row["labels"] == "cat") == is_cat(row["fname"])) == (row["fname"] not in left)


def test_several_labels_and_a_class_that_is_new(unlabelled, opened):
    folder = unlabelled(8)
    with studio_of(folder, "--task", "multi-label", "--names", "house,sun") as service:
        page, other = (opened(service) for _ in range(2))
        expect(page.locator("#name")).not_to_be_empty()
        first, elsewhere = page.inner_text("#name"), other.inner_text("#name")
        assert first != elsewhere  # two people are at different images
        page.keyboard.press("1")
        page.keyboard.press("/")
        page.keyboard.type("tree")
        page.keyboard.press("Enter")
        expect(page.locator("#adding")).to_contain_text("Enter again adds tree")
        page.keyboard.press("Enter")
        expect(page.locator("#chips button")).to_have_count(3)
        expect(page.locator("#chips button[data-name=tree]")).to_have_attribute("aria-pressed", "true")
        page.keyboard.press("Enter")
        expect(page.locator("#name")).not_to_have_text(first)
        expect(other.locator("#chips button")).to_have_count(3)  # of all sessions
        page.keyboard.press("Enter")  # nothing is in it
        expect(page.locator("#progress")).to_contain_text("2 of 8")
        page.keyboard.press("Delete")
        expect(page.locator("#progress")).to_contain_text("1 left out")
        page.click("nav [data-view=images]")
        page.click("nav [data-view=label]")
        fourth = page.inner_text("#name")
        page.click("#chips button[data-name=sun]")
        page.keyboard.press("Enter")  # is Done, and not the button that was clicked
        expect(page.locator("#name")).not_to_have_text(fourth)
        page.click("nav [data-view=images]")
        page.select_option("#show", "left out")
        expect(page.locator("#n-found")).to_have_text("1 image")
        page.locator(".tile").first.click()
        expect(page.locator("#answered")).to_contain_text("left out")
        page.keyboard.press("Delete")  # takes it in, and leads back
        expect(page.locator("#images")).to_be_visible()
        expect(page.locator("#progress")).not_to_contain_text("left out")
        assert service.end() == 0
    rows = {row["fname"]: row["labels"] for row in rows_of(folder / "labels.csv")}
    assert rows[first] == "house tree"
    assert sorted(rows.values()) == ["", "house tree", "sun"]


def test_points_are_set_where_a_person_clicks(unlabelled, opened):
    folder = unlabelled(6)
    with studio_of(folder, "--task", "points", "--names", "left,right") as service:
        page = opened(service, viewport={"width": 1280, "height": 860})
        expect(page.locator("#name")).not_to_be_empty()
        name = page.inner_text("#name")
        until(lambda: page.evaluate("() => document.getElementById('shown-image').naturalWidth") > 0)
        size = page.evaluate(
            "[document.getElementById('shown-image').naturalWidth, document.getElementById('shown-image').naturalHeight]"
        )
        box = page.locator("#shown-frame").bounding_box()
        scale = min(box["width"] / size[0], box["height"] / size[1])
        left, top = box["x"] + (box["width"] - size[0] * scale) / 2, box["y"] + (box["height"] - size[1] * scale) / 2
        page.mouse.click(left + 10 * scale, top + 20 * scale)
        page.mouse.click(left + 30 * scale, top + 40 * scale)
        page.keyboard.press("ArrowRight")
        page.keyboard.press("1")
        page.keyboard.press("Shift+ArrowDown")
        page.keyboard.press("Enter")
        expect(page.locator("#name")).not_to_have_text(name)
        page.keyboard.press("0")
        page.keyboard.press("0")
        page.keyboard.press("Enter")
        expect(page.locator("#progress")).to_contain_text("2 of 6")
        assert service.end() == 0
    rows = {row.pop("fname"): row for row in rows_of(folder / "labels.csv")}
    found = {column: float(cell) for column, cell in rows.pop(name).items()}
    assert found == pytest.approx({"left_x": 10, "left_y": 30, "right_x": 31, "right_y": 40}, abs=1.0)
    assert set(next(iter(rows.values())).values()) == {""}


@pytest.mark.parametrize("options", [{"viewport": {"width": 360, "height": 740}}, {"color_scheme": "dark"}])
def test_it_fits_a_phone_and_names_everything(unlabelled, opened, options):
    folder = unlabelled(6, name="<b>scenes", prefix="<i>")
    with studio_of(folder, "--task", "single-label", "--names", "<img src=x>,b") as service:
        page = opened(service, **options)
        expect(page.locator("#name")).not_to_be_empty()
        for view in ("label", "images", "check", "copies", "finish"):
            page.click(f"nav [data-view={view}]")
            assert page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth") <= 0
            assert page.locator("nav [aria-current=page]").get_attribute("data-view") == view
        unnamed = page.evaluate(
            "() => [...document.querySelectorAll('button, input, select, a')].filter((one) => one.checkVisibility() && !(one.textContent.trim() ||"
            " one.getAttribute('aria-label') || (one.labels && one.labels.length))).map((one) => one.outerHTML)"
        )
        assert unnamed == []
        page.click("nav [data-view=label]")
        expect(page.locator("#shown-image")).to_have_attribute("alt", page.inner_text("#name"))
        expect(page.locator("#spoken")).to_have_attribute("aria-live", "polite")
        page.keyboard.press("1")
        expect(page.locator("#spoken")).to_contain_text("<i>")
        expect(page.locator("#back")).to_contain_text("<img src=x>")


def test_a_studio_that_ends_says_so_and_loses_nothing(unlabelled, running_chromium):
    folder = unlabelled(6)
    with studio_of(folder, "--task", "single-label", "--names", "a,b") as service:
        page = running_chromium.new_page()
        page.goto(f"http://127.0.0.1:{service.port}/")
        expect(page.locator("#name")).not_to_be_empty()
        page.keyboard.press("1")
        expect(page.locator("#progress")).to_contain_text("1 of 6")
        service.process.kill()
        expect(page.locator("#message")).to_contain_text("does not answer", timeout=10_000)
        page.close()
