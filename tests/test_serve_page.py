"""The page in a real Chromium: images in, answers out, whatever the files and the classes are called."""

import csv
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from playwright.sync_api import expect

from films import OWNED, TITLES
from films import write_model as films_model
from foveal.images.prepare import IMAGENET, Preparation
from foveal.inference.loading import load_learner
from foveal.inference.manifest import TrainingPart
from foveal.inference.predictor import Predictor
from foveal.models.vision import ModelSpec, build_model
from foveal.tasks.base import Decision
from foveal.tasks.multi_label import MultiLabel
from foveal.tasks.points import Points
from foveal.tasks.vocab import Vocab
from serving import serving

GOLDEN = Path(__file__).parent / "golden"
OWNED_FILE = "<img src=x onerror=document.title='owned'>.png".replace("/", "")


@pytest.fixture
def opened(watched_page):
    """A function that opens a service's page, and waits until it says what the model does."""

    def open_page(service, **options):
        page = watched_page(service, **options)
        expect(page.locator("#lead")).not_to_be_empty()
        return page

    return open_page


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    """Two images, the second with markup for a name."""
    folder = tmp_path_factory.mktemp("images")
    rng = np.random.default_rng(0)
    files = [folder / "plain.png", folder / OWNED_FILE]
    for file in files:
        Image.fromarray(rng.integers(0, 255, (60, 90, 3), dtype=np.uint8)).save(file)
    return files


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """A bundle whose first class is called like markup."""
    torch.manual_seed(0)
    network = build_model(ModelSpec("test_efficientnet", 3, (32, 32), None, "linear"))
    torch.nn.init.normal_(network.linear.weight, std=0.1)
    task = MultiLabel(Vocab((OWNED, "bee", "cat")), Decision((0.01, 0.3, 0.3)))
    path = tmp_path_factory.mktemp("owned") / "model.safetensors"
    trained = TrainingPart(source=OWNED, counts={OWNED: 3, "bee": 2, "cat": 1})
    Predictor.of(network, task, Preparation.of((32, 32), "squish", IMAGENET), trained).save(path)
    return path


@pytest.fixture(scope="module")
def service(model):
    with serving(model) as running:
        yield running


def test_images_are_answered_and_sliders_change_the_answers_at_once(opened, service, model, images):
    page = opened(service)
    page.set_input_files("#files", [str(file) for file in images])
    expect(page.locator("#status")).to_contain_text("2 answered")
    predictor = load_learner(model)
    first = page.locator("article", has_text="plain.png")
    mine = predictor.predict(images[0])
    assert first.locator(".found").inner_text() == (", ".join(mine.label) or "nothing found")
    shown = {
        row.locator("span").first.inner_text().lstrip("✓\u00a0"): row.locator(".share").inner_text()
        for row in first.locator(".bar").all()
    }
    assert shown == {name: f"{value:.2f}" for name, value in zip(predictor.vocab, mine.values.tolist(), strict=True)}
    page.click("#deciding summary")
    for slider in page.locator("#thresholds input").all():
        slider.fill("1")
    assert page.locator(".found").all_inner_texts() == ["nothing found", "nothing found"]
    page.locator("#thresholds input").nth(1).fill("0")
    assert page.locator(".found").all_inner_texts() == ["bee", "bee"]
    page.locator("#thresholds input").nth(1).focus()
    for _ in range(100):
        page.keyboard.press("ArrowRight")
    assert page.locator(".found").all_inner_texts() == ["nothing found", "nothing found"]
    page.click("#reset")
    assert first.locator(".found").inner_text() == (", ".join(mine.label) or "nothing found")
    assert not page.complaints


def test_markup_in_names_stays_text(opened, service, images):
    page = opened(service)
    page.set_input_files("#files", str(images[1]))
    expect(page.locator("#status")).to_contain_text("1 answered")
    assert page.locator("article h2").inner_text() == OWNED_FILE
    page.click("#deciding summary")
    page.click("#about summary")
    assert OWNED in page.inner_text("#thresholds")
    assert OWNED in page.inner_text("#card")
    assert page.title() != "owned"
    assert page.locator("img[src=x]").count() == 0
    assert not page.complaints


def test_the_gallery_is_downloaded_as_csv(opened, service, images, tmp_path):
    page = opened(service)
    page.set_input_files("#files", [str(file) for file in images])
    expect(page.locator("#status")).to_contain_text("2 answered")
    with page.expect_download() as download:
        page.click("#csv")
    download.value.save_as(tmp_path / "answers.csv")
    with (tmp_path / "answers.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["fname"] for row in rows] == [file.name for file in images]
    assert list(rows[0]) == ["fname", "predicted", OWNED, "bee", "cat"]
    page.click("#clear")
    assert page.locator("article").count() == 0


def test_bad_files_are_said_and_others_answered(opened, service, images, tmp_path):
    (tmp_path / "bad.jpg").write_text("<script>alert(1)</script>")
    page = opened(service)
    page.set_input_files("#files", [str(tmp_path / "bad.jpg"), str(images[0])])
    expect(page.locator("#status")).to_contain_text("1 answered, 1 not")
    expect(page.locator("article", has_text="bad.jpg").locator(".error")).to_contain_text("not an image")


def test_images_are_dropped_and_pasted(opened, service, images):
    page = opened(service)
    for kind, name in (("drop", "dataTransfer"), ("paste", "clipboardData")):
        page.evaluate(
            """async ([kind, name, bytes]) => {
                const data = new DataTransfer();
                data.items.add(new File([new Uint8Array(bytes)], kind + ".png", { type: "image/png" }));
                const event = kind === "drop" ? new DragEvent(kind, { [name]: data, bubbles: true })
                    : new ClipboardEvent(kind, { [name]: data, bubbles: true });
                document.body.dispatchEvent(event);
            }""",
            [kind, name, list(images[0].read_bytes())],
        )
    expect(page.locator("#status")).to_contain_text("2 answered")
    assert page.locator("article h2").all_inner_texts() == ["paste.png", "drop.png"]


def test_what_the_model_looked_at_is_shown_and_put_back(opened, service, images):
    page = opened(service)
    page.set_input_files("#files", str(images[0]))
    expect(page.locator("#status")).to_contain_text("1 answered")
    before = page.locator("article img").get_attribute("src")
    page.locator("button", has_text="why?").first.click()
    expect(page.locator("article img")).to_have_attribute("alt", "bright: what the model looked at")
    assert page.locator("article img").get_attribute("src") != before
    page.locator("button", has_text="back").click()
    expect(page.locator("article img")).to_have_attribute("src", before)
    assert not page.complaints


def test_a_point_is_drawn_where_it_was_found(opened, images, tmp_path):
    torch.manual_seed(1)
    network = build_model(ModelSpec("test_efficientnet", 4, (64, 64), None, "spatial"))
    torch.nn.init.normal_(network[1][1].weight)
    task = Points(2, Decision(radius_factors=(0.5, None)), skeleton=((0, 1),))
    predictor = Predictor.of(network, task, Preparation.of((64, 64), "squish", IMAGENET))
    predictor.save(tmp_path / "points.safetensors")
    with serving(tmp_path / "points.safetensors") as service:
        page = opened(service)
        page.set_input_files("#files", str(images[0]))
        expect(page.locator("#status")).to_contain_text("1 answered")
        for number, (x, y) in enumerate(predictor.predict(images[0]).label, start=1):
            assert f"point {number}: x {x:.1f}, y {y:.1f} px" in page.inner_text("article")
        drawn = [
            line.evaluate("e => ['x1','y1','x2','y2'].map((n) => Number(e.getAttribute(n)))")
            for line in page.locator("line.over").all()
        ]
        points = predictor.predict(images[0]).label
        np.testing.assert_allclose(drawn[0], points.reshape(-1), atol=1e-3)
        for cross, point in zip((drawn[1], drawn[3]), points, strict=True):
            np.testing.assert_allclose(np.reshape(cross, (2, 2)).mean(axis=0), point, atol=1e-3)
        (circle,) = page.locator("circle.over").all()  # the second point has no radius
        drawn = [float(circle.get_attribute(name)) for name in ("cx", "cy", "r")]
        radius = predictor.predict(images[0]).radius[0]
        np.testing.assert_allclose(drawn, [*points[0], radius], rtol=1e-4)
        text = page.inner_text("article")
        assert f"y {points[0, 1]:.1f} px, radius {radius:.1f} px" in text
        assert "holds the truth in 90 of 100 new images" in text
        box, image = page.locator("article svg").bounding_box(), page.locator("article img").bounding_box()
        assert all(abs(box[side] - image[side]) < 1.5 for side in box)
        assert not page.complaints


@pytest.fixture(scope="module")
def films(tmp_path_factory):
    """A bundle of ratings of films, and its service."""
    model = films_model(tmp_path_factory.mktemp("films"))
    with serving(model) as running:
        yield load_learner(model), running


def pick(page, *queries):
    """Type each query, and take the first match with the keyboard."""
    for query in queries:
        page.locator("#search").press_sequentially(query)
        expect(page.locator("#matches")).to_be_visible()
        page.keyboard.press("Enter")
        expect(page.locator("#search")).to_have_value("")


def shown(page, recommended):
    """Wait until the list shows what is recommended: title, rating and reasons of each."""
    rows = page.locator("#list li")
    expect(rows).to_have_count(len(recommended))
    for row, one in zip(rows.all(), recommended, strict=True):
        expect(row).to_have_attribute("data-id", str(one.item))
        assert row.locator("> .title").text_content() == (one.title or str(one.item))
        number = row.locator(".rating b")
        assert number.all_inner_texts() == ([] if one.rating is None else [f"{one.rating:.2f}"])
        yield [reason.text_content() for reason in row.locator(".because bdi").all()]


def test_a_newcomer_picks_films_and_sees_recommendations_and_why(opened, films):
    predictor, service = films
    page = opened(service)
    expect(page.locator("#status")).to_contain_text("Pick something you like")
    expect(page.locator("#popular button")).to_have_count(8)
    pick(page, "film 18", "amel")
    assert page.locator("#picked .title").all_inner_texts() == ["Film 18", "Amélie: Le Fabuleux Destin (2001)"]
    expect(page.locator("#empty")).to_be_hidden()
    ours = predictor.recommend_to_new([18, 11])
    assert list(shown(page, ours)) == [[predictor.titles[item] for item in one.because] for one in ours]
    expect(page.locator("#list .because").first).to_contain_text("because you liked")
    page.get_by_label("Your rating of Film 18").select_option("5")
    page.get_by_label("Your rating of Amélie").select_option("1")
    expect(page.locator("#status")).to_contain_text("predicted stars, 1 to 5")
    list(shown(page, predictor.recommend_to_new({18: 5.0, 11: 1.0})))
    page.get_by_label("Sort by").select_option("rating")
    expect(page.locator("#list .because")).to_have_count(0)
    list(shown(page, predictor.recommend_to_new({18: 5.0, 11: 1.0}, by="rating")))
    page.get_by_label("Remove Amélie").click()
    expect(page.locator("#picked li")).to_have_count(1)
    page.get_by_label("Sort by").select_option("ranking")
    page.get_by_label("More variety").fill("0.8")
    expect(page.locator("#list li").nth(1)).to_have_attribute(
        "data-id", str(predictor.recommend_to_new([18], diverse=0.8)[1].item)
    )
    list(shown(page, predictor.recommend_to_new({18: 5.0}, diverse=0.8)))
    page.get_by_label("More variety").fill("0")
    page.click("#more")
    list(shown(page, predictor.recommend_to_new({18: 5.0}, 20)))
    page.click("#clear")
    expect(page.locator("#list li")).to_have_count(0)
    expect(page.locator("#popular")).to_be_visible()
    page.locator("#popular button").first.click()
    expect(page.locator("#list li")).to_have_count(10)
    assert not page.complaints


def test_the_search_of_films_is_used_with_the_keyboard(opened, films):
    page = opened(films[1])
    field = page.get_by_role("combobox", name="Search for something you like")
    field.press_sequentially("home")
    expect(page.locator("#matches").get_by_role("option")).to_have_count(2)
    assert field.get_attribute("aria-expanded") == "true"
    field.press("ArrowDown")
    field.press("ArrowDown")
    active = page.locator(f"#{field.get_attribute('aria-activedescendant')}")
    assert (active.inner_text(), active.get_attribute("aria-selected")) == ("Spider-Man's Way Home", "true")
    field.press("ArrowDown")
    assert page.locator("#matches").get_by_role("option", selected=True).inner_text() == "Home (2009)"
    field.press("Escape")
    expect(page.locator("#matches")).to_be_hidden()
    assert field.get_attribute("aria-expanded") == "false"
    field.press("ArrowUp")
    field.press("Enter")
    expect(page.locator("#picked .title")).to_have_text(["Spider-Man's Way Home"])
    field.press_sequentially("no such film")
    expect(page.locator("#matches")).to_contain_text("Nothing is called that")
    field.press("Enter")
    expect(page.locator("#picked li")).to_have_count(1)
    assert not page.complaints


def test_hostile_titles_stay_text_on_a_phone(opened, films):
    page = opened(films[1], viewport={"width": 360, "height": 700}, color_scheme="dark")
    for film, query in enumerate(("onerror", "amelie", "unbroken", "القمر", "🍿", "尋の"), start=10):
        pick(page, query)
        assert page.locator("#picked .title").last.text_content() == TITLES[film]
    expect(page.locator("#list li")).to_have_count(10)
    page.get_by_label("user of training").check()
    page.get_by_label("user", exact=True).fill("4")
    page.get_by_label("what they had already").check()
    expect(page.locator("#list li").first).to_be_visible()
    page.click("#more")
    page.click("#more")
    expect(page.locator("#list li")).to_have_count(30)
    assert OWNED in page.locator("#list .title").all_text_contents()
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    assert page.title() != "owned"
    assert page.locator("img[src=x]").count() == 0
    for tag in ("button:visible", "input:visible", "select:visible", "summary"):
        for element in page.locator(tag).all():
            assert element.evaluate(
                "e => e.getAttribute('aria-label') || e.textContent || (e.labels && e.labels.length && e.labels[0].textContent)"
            )
    assert not page.complaints


def test_a_user_of_training_sees_theirs_and_what_they_would_give(opened, films):
    predictor, service = films
    page = opened(service)
    page.get_by_label("user of training").check()
    expect(page.locator("#status")).to_contain_text("Name a user")
    page.get_by_label("user", exact=True).fill("3")
    page.keyboard.press("Enter")
    ours = predictor.recommend(3)
    assert list(shown(page, ours)) == [[predictor.titles[item] for item in one.because] for one in ours]
    expect(page.locator("#list .because").first).to_contain_text("because they liked")
    page.get_by_label("what they had already").check()
    list(shown(page, predictor.recommend(3, seen=True)))
    page.locator("#which").fill("film 20")
    page.keyboard.press("Enter")
    expect(page.locator("#answer b")).to_have_text(f"stars {predictor.predict(3, 20).label:.2f}")
    page.get_by_label("user", exact=True).fill("nobody")
    page.keyboard.press("Enter")
    expect(page.locator("#status")).to_contain_text("Training did not know this user: these are the most popular.")
    assert list(shown(page, predictor.most_popular()))[:1] == [[]]
    assert not page.complaints


def test_a_model_without_titles_shows_ids_and_ranks_by_ratings(opened):
    predictor = load_learner(GOLDEN / "ratings-1.safetensors")
    with serving(GOLDEN / "ratings-1.safetensors") as service:
        page = opened(service)
        pick(page, "c")
        expect(page.locator("#status")).to_contain_text("Rate what you picked")
        page.get_by_label("Your rating of c").select_option("5")
        list(shown(page, predictor.recommend_to_new({"c": 5.0})))
        page.get_by_label("user of training").check()
        page.get_by_label("user", exact=True).fill("2")
        page.click("#user-form button")
        list(shown(page, predictor.recommend(2)))
        assert not page.complaints


def test_a_service_that_is_gone_is_said(opened, images):
    with serving(GOLDEN / "images-1.safetensors") as service:
        page = opened(service)
    page.set_input_files("#files", str(images[0]))
    expect(page.locator("article .error")).to_contain_text("cannot be reached")


def test_it_fits_a_phone_in_the_dark_and_has_names_for_what_can_be_used(opened, service, images):
    page = opened(service, viewport={"width": 360, "height": 700}, color_scheme="dark")
    page.set_input_files("#files", [str(file) for file in images])
    expect(page.locator("#status")).to_contain_text("2 answered")
    page.click("#deciding summary")
    page.click("#about summary")
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(23, 25, 27)"
    for tag in ("button", "input", "summary"):
        for element in page.locator(tag).all():
            named = element.evaluate(
                "e => e.getAttribute('aria-label') || e.textContent || (e.labels && e.labels.length && e.labels[0].textContent)"
            )
            assert named, element.evaluate("e => e.outerHTML")
    assert page.locator("#status").get_attribute("aria-live") == "polite"
