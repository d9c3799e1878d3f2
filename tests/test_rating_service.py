"""Ratings over HTTP: the predictor's own recommendations, for users of training and for somebody new; the search."""

import json
import time
from pathlib import Path
from urllib.parse import quote

import pytest
import torch

from films import LONG, OWNED, write_model
from foveal.collab.item_search import ItemSearch, normalise
from foveal.collab.task import Ids
from foveal.inference.loading import load_learner
from serving import serving

JSON = "application/json"
GOLDEN_WITHOUT_RANKING = Path(__file__).parent / "golden" / "ratings-1.safetensors"


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return write_model(tmp_path_factory.mktemp("films"))


@pytest.fixture(scope="module")
def predictor(model):
    return load_learner(model)


@pytest.fixture(scope="module")
def ask(model):
    """A function that posts to /recommend, or to another path, and returns (status, answer)."""
    with serving(model, "--max-body", "100kB") as service:

        def post(body, path="/recommend"):
            text = body if isinstance(body, str | bytes) else json.dumps(body)
            return service.json("POST", path, text, JSON)

        post.service = service
        yield post


@pytest.fixture(scope="module")
def find(ask):
    """A function that returns the ids that a query finds."""

    def search(query, limit=20):
        status, answer = ask.service.json("GET", f"/items?q={quote(query)}&limit={limit}")
        assert status == 200, answer
        return [one["id"] for one in answer["items"]]

    return search


def assert_same(answer, ours, predictor):
    """The rows of an answer are recommendations of the predictor."""
    rows = answer["recommended"]
    assert ours
    assert [row["movie"] for row in rows] == [one.item for one in ours]
    for row, one in zip(rows, ours, strict=True):
        assert row["title"] == one.title
        assert row["score"] == pytest.approx(one.score, abs=1e-5)
        assert row["stars"] == (None if one.rating is None else pytest.approx(one.rating, abs=1e-4))
        assert row["because"] == [{"id": item, "title": predictor.titles[item]} for item in one.because]


@pytest.mark.parametrize(
    "wishes",
    [
        {},
        {"k": 3},
        {"diverse": 0.7},
        {"seen": True},
        {"by": "rating"},
        {"exclude": [20, 22]},
        {"only": [20, 21, 22, 23, 24, 25]},
    ],
)
def test_a_user_gets_what_the_predictor_recommends(ask, predictor, wishes):
    status, answer = ask({"user": 3} | wishes)
    assert (status, answer["user"]) == (200, 3)
    assert_same(
        answer, predictor.recommend(3, wishes.get("k", 10), **{n: v for n, v in wishes.items() if n != "k"}), predictor
    )
    assert ask({"user": "3"} | wishes)[1] == answer


@pytest.mark.parametrize("wishes", [{}, {"diverse": 0.7}, {"exclude": [20, 22]}, {"only": [20, 21, 22, 23]}])
def test_somebody_new_gets_what_the_predictor_recommends(ask, predictor, wishes):
    status, answer = ask({"liked": [18, 20], "k": 5} | wishes)
    assert (status, "user" in answer) == (200, False)
    assert_same(answer, predictor.recommend_to_new([18, 20], 5, **wishes), predictor)
    assert all(row["because"] for row in answer["recommended"])
    status, answer = ask({"ratings": {"18": 5, "21": 1}, "k": 5} | wishes)
    assert status == 200
    assert_same(answer, predictor.recommend_to_new({18: 5.0, 21: 1.0}, 5, **wishes), predictor)
    assert all(row["stars"] is not None for row in answer["recommended"])
    assert not {18, 21} & {row["movie"] for row in answer["recommended"]}


def test_likes_and_ratings_are_taken_together_and_sorted_by_rating(ask, predictor):
    ours = predictor.recommend_to_new({18: None, 21: 1.0}, 5, by="rating")
    for body in ({"liked": [18], "ratings": {"21": 1}}, {"ratings": {"21": 1, "18": None}}):
        status, answer = ask({"k": 5, "by": "rating"} | body)
        assert status == 200
        assert_same(answer, ours, predictor)


def test_items_are_named_by_id_or_by_title(ask):
    by_id = ask({"liked": [11, 18, 10]})[1]
    for names in (["11", "18", "10"], ["amelie le fabuleux destin 2001", "FILM 18", OWNED]):
        assert ask({"liked": names})[1] == by_id
    assert ask({"ratings": {"Film 18": 5}})[1] == ask({"ratings": {"18": 5}})[1]
    assert ask({"liked": ["Film 18"], "exclude": ["Film 20"]})[1] == ask({"liked": [18], "exclude": [20]})[1]


def test_a_column_of_items_says_among_which_is_chosen(ask, predictor):
    status, answer = ask({"liked": [18], "only": {"genre": "war"}})
    assert status == 200
    assert_same(answer, predictor.recommend_to_new([18], only=predictor.items.where("genre", "War")), predictor)
    assert all(row["movie"] % 2 for row in answer["recommended"])


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ({"user": 1, "liked": [18]}, "`user` names somebody of training and `liked` somebody new"),
        ({"user": 1, "ratings": {"18": 5}}, "and `ratings` somebody new"),
        ({}, "`user` must be given, or of somebody new `liked`"),
        ({"user": None}, "`user` must be given"),
        ({"user": True}, "`user` must be given, as text or a number; got True"),
        ({"user": 1, "divers": 0.3}, "Did you mean `diverse`?"),
        ({"liked": []}, "at least one item"),
        ({"ratings": {}}, "at least one item"),
        ({"liked": [18], "k": 0}, "`k` must be a whole number from 1 to 1,000; got 0"),
        ({"liked": [18], "k": 10**6}, "`k` must be"),
        ({"liked": [18], "k": 101, "diverse": 0.1}, "With `diverse`, `k` is at most 100"),
        ({"liked": [18], "diverse": 1.1}, "`diverse` must be a number from 0 to 1; got 1.1"),
        ({"liked": [18], "by": "score"}, "`by` must be"),
        ({"liked": [18], "by": "rating"}, "give `ratings`"),
        ({"liked": [18], "seen": "perhaps"}, "`seen` must be true or false"),
        ({"liked": "Film 18"}, "`liked` must be a list"),
        ({"liked": [True]}, "`liked` must be a list"),
        ({"liked": [[18]]}, "`liked` must be a list"),
        ({"liked": list(range(1001))}, "up to 1,000"),
        ({"liked": ["Flim 18"]}, "Did you mean `Film 18`?"),
        ({"liked": ["x" * 50_000]}, "no item of training"),
        ({"ratings": {"18": 6}}, "a rating is from 1 to 5"),
        ({"ratings": {"18": "good"}}, "`ratings` must be"),
        ('{"ratings": {"18": NaN}}', "a rating is from 1 to 5"),
        ('{"ratings": {"18": 1e999}}', "a rating is from 1 to 5"),
        ({"liked": [18], "exclude": [999]}, "`exclude`: no item of training has the id or the title 999"),
        ({"liked": [18], "only": {"gener": "War"}}, "Did you mean `genre`?"),
        ({"liked": [18], "only": {"genre": "Wra"}}, "Did you mean `War`?"),
        ({"liked": [18], "only": 3}, "`only` must be"),
        ("[]", "JSON object"),
        (b'{"liked": ["\xff"]}', "JSON object"),
        ('{"liked": ["\\ud800"]}', "JSON object"),
    ],
)
def test_what_cannot_be_answered_is_refused_with_a_reason(ask, body, reason):
    began = time.monotonic()
    status, answer = ask(body)
    assert (status, reason in answer["error"]) == (422, True), answer
    assert len(answer["error"]) < 600
    assert time.monotonic() - began < 2


def test_the_limits_of_every_address_hold(ask):
    assert ask(b" " * 200_000)[0] == 413
    assert ask.service.json("POST", "/recommend", "{}", "text/plain")[0] == 415
    assert ask.service.ask("GET", "/items", headers={"Host": "evil.example"})[0] == 421
    with serving(GOLDEN_WITHOUT_RANKING, "--max-queue", 1) as service, service.raw() as slow:
        slow.sendall(
            b"POST /recommend HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 9\r\n\r\n{"
        )
        found = {service.json("GET", "/items?q=a")[0] for _ in range(20)}
    assert found <= {200, 503}


def test_a_search_takes_words_in_any_order_without_case_and_accents(find):
    assert find("amelie") == find("DESTIN fabul") == find("Amélie: le") == [11]
    assert find("spidermans") == find("spider man") == find("Spider-Man’s") == [16]
    assert find("尋の") == [15]
    assert find("🍿") == [14]
    assert find("onerror") == [10]
    assert find("إلى القمر") == [13]
    assert find("nothing like that") == find("!?") == []


def test_titles_that_begin_with_the_query_come_first_and_popular_ones_before_others(find, predictor):
    assert find("home") == [17, 16]
    popular = predictor.seen[:, 1].bincount(minlength=31)
    n_users = [int(popular[predictor.task.items.number(item)]) for item in find("", 30)]
    assert n_users == sorted(n_users, reverse=True)
    assert len(set(n_users)) > 3
    assert find("", 4) == find("", 30)[:4]
    films = find("film", 30)
    assert films == [item for item in find("", 30) if item >= 18]
    assert find("21")[0] == 21


@pytest.mark.parametrize(
    ("query", "reason"),
    [
        ("limit=0", "`limit` must be a whole number from 1 to 100; got '0'"),
        ("limit=101", "`limit`"),
        ("limit=many", "`limit`"),
        ("limit=-1", "`limit`"),
        (f"q={'x' * 201}", "`q` may have up to 200 characters; got 201"),
    ],
)
def test_a_search_beyond_the_limits_is_refused(ask, query, reason):
    status, answer = ask.service.json("GET", f"/items?{query}")
    assert (status, reason in answer["error"]) == (422, True)


def test_odd_text_is_searched_for_and_harms_nothing(ask, find):
    for query in ("\u202e", "\x00", "%", "a" * 200, "(" * 100, "\\", ".*", "\u0301" * 100, "a b " * 50, LONG[:150]):
        assert len(find(query)) <= 20
    assert find(LONG[:150]) == [12]
    assert ask.service.json("GET", "/items?q=%ff%fe")[0] == 200


def test_a_search_of_a_hundred_thousand_titles_is_quick():
    words = [normalise(f"{at * 7919 % 9973:x}") for at in range(100_000)]
    titles = {at: f"The {word} of {words[-at]} ({1900 + at % 120})" for at, word in enumerate(words)}
    search = ItemSearch(Ids(tuple(titles)), titles, range(100_000))
    for query in ("", "t", "the", "the of", "19", "f", "e2", "of the 1", "qqq"):
        times = []
        for _ in range(5):
            began = time.perf_counter()
            search.search(query, 100)
            times.append(time.perf_counter() - began)
        assert min(times) < 0.02, query


def test_openapi_says_what_is_taken_and_comes_back(ask):
    paths = json.loads(ask.service.ask("GET", "/openapi.json")[2])["paths"]
    taken = paths["/recommend"]["post"]["requestBody"]["content"]["application/json"]["schema"]["properties"]
    assert {"user", "liked", "ratings", "k", "seen", "diverse", "exclude", "only", "by"} == taken.keys()
    rows = paths["/recommend"]["post"]["responses"]["200"]["content"]["application/json"]["schema"]["properties"]
    one = ask({"liked": [18]})[1]["recommended"][0]
    assert (
        rows["recommended"]["items"]["properties"].keys()
        == one.keys()
        == {"movie", "title", "stars", "score", "because"}
    )
    assert {one["name"] for one in paths["/items"]["get"]["parameters"]} == {"q", "limit"}


def test_a_model_without_titles_and_ranking_takes_ratings_alone():
    ours = load_learner(GOLDEN_WITHOUT_RANKING)
    with serving(GOLDEN_WITHOUT_RANKING) as service:
        status, answer = service.json("POST", "/recommend", '{"ratings": {"c": 5}, "k": 2}', JSON)
        assert status == 200
        assert [row["title"] for row in answer["recommended"]] == [
            one.item for one in ours.recommend_to_new({"c": 5.0}, 2)
        ]
        status, answer = service.json("POST", "/recommend", '{"liked": ["c"]}', JSON)
        assert (status, "give `ratings`" in answer["error"]) == (422, True)
        assert service.json("GET", "/items?q=C")[1] == {"items": [{"id": "c", "title": None}]}


def test_a_stranger_gets_what_is_most_popular_and_no_word_of_others(ask, predictor):
    """Also one whose id is like that of somebody who took part: a near match would tell a stranger who did."""
    for user in (99, "3 ", "use", "user-0", -1):
        status, answer = ask({"user": user, "k": 5})
        assert status == 200, answer
        assert answer["unknown"] == [predictor.task.columns[0]]
        ours = predictor.most_popular(5)
        assert [row[predictor.task.columns[1]] for row in answer["recommended"]] == [one.item for one in ours]
    counts = torch.bincount(predictor.seen[:, 1])
    assert [one.score for one in ours] == sorted((one.score for one in ours), reverse=True)
    assert ours[0].score == pytest.approx(int(counts.max()) / len(predictor.task.users.known))
    left = ours[1].item
    _, answer = ask({"user": 99, "k": 1, "exclude": [ours[0].item]})
    assert answer["recommended"][0][predictor.task.columns[1]] == left
    _, answer = ask({"user": 99, "k": 5, "only": [left]})
    assert [row[predictor.task.columns[1]] for row in answer["recommended"]] == [left]
    status, about = ask.service.json("GET", "/model")
    assert "example_user" not in json.dumps(about)
