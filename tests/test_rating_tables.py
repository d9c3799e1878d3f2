"""Tables of ratings: whatever way a table is written, it reads the same, and what it was taken for is said."""

import gzip
import json

import numpy as np
import pandas as pd
import pytest

import foveal as library
from foveal.collab.tables.folders import takes
from foveal.collab.tables.reading import read_ratings
from foveal.collab.tables.words import claim_of
from foveal.core.errors import FovealError, InputError, TableError, UnknownNameError
from foveal.runs.settings import make_settings

N_USERS, N_ITEMS = 30, 24


def drawn(seed=0, n=400):
    """Pairs of users and items, each once, with a rating of 1 to 5 and a time."""
    rng = np.random.default_rng(seed)
    pairs = rng.permutation(N_USERS * N_ITEMS)[:n]
    frame = pd.DataFrame({"user": pairs // N_ITEMS + 1, "item": pairs % N_ITEMS + 101})
    frame["rating"] = rng.choice([1, 2, 3, 4, 5], n, p=[0.08, 0.12, 0.3, 0.3, 0.2])
    frame["time"] = 880_000_000 + rng.permutation(n) * 1000
    return frame


def text(frame, separator, header=None, end="\n"):
    rows = [separator.join(map(str, row)) for row in frame.itertuples(index=False)]
    return end.join([*([separator.join(map(str, header))] if header is not None else []), *rows, ""])


def plain(table):
    """The pairs in order, by role."""
    names = [*table.columns, *([table.time] if table.time else [])]
    frame = table.frame[names].copy()
    frame.columns = ["user", "item", "rating", "time"][: len(names)]
    frame["user"], frame["item"] = frame["user"].tolist(), frame["item"].tolist()
    return frame.sort_values(["user", "item"], ignore_index=True)


def same(table, frame):
    expected = frame.sort_values(["user", "item"], ignore_index=True)
    got = plain(table)
    pd.testing.assert_frame_equal(got, expected[got.columns], check_dtype=False)
    return True


LAYOUTS = {
    "u.data": lambda f: text(f, "\t"),
    "with-header/u.data": lambda f: text(f, "\t", ["user-id", "item-id", "rating", "timestamp"]),
    "ratings.dat": lambda f: text(f, "::"),
    "ratings.csv": lambda f: text(f, ",", ["userId", "movieId", "rating", "timestamp"]),
    "windows.csv": lambda f: "\ufeff" + text(f, ";", ["Benutzer", "Artikel", "Bewertung", "Datum"], "\r\n"),
    "mac.csv": lambda f: text(f, ",", ["User-ID", "ISBN", "Book-Rating", "date"], "\r"),
    "amazon/ratings_Toys.csv": lambda f: "\ufeff" + text(f, ","),
    "spaces/ratings.txt": lambda f: "% bip weighted\n" + text(f, " "),
    "out.tsv": lambda f: text(f, "\t", ["reviewerID", "asin", "overall", "unixReviewTime"]),
    "pipes.dat": lambda f: text(f, "|"),
    "quoted.csv": lambda f: "sep=,\n" + text(f.map(lambda cell: f'"{cell}"'), ",", ["uid", "anime_id", "score", "ts"]),
    "commas.csv": lambda f: text(
        f.assign(rating=[f"{one},0" for one in f["rating"]]), ";", ["cliente", "producto", "nota", "fecha"]
    ),
    "words.csv": lambda f: text(
        f.assign(rating=[f"{one} out of 5" for one in f["rating"]]), ",", ["user", "book", "stars", "date"]
    ),
    "milliseconds.csv": lambda f: text(
        f.assign(time=f["time"] * 1000), ",", ["customer_id", "product_id", "rate", "created_at"]
    ),
}


@pytest.mark.parametrize("name", LAYOUTS)
def test_every_layout_reads_to_the_same_pairs(name, tmp_path):
    frame, path = drawn(), tmp_path / name
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(LAYOUTS[name](frame).encode())
    table = read_ratings(path)
    assert same(table, frame)
    assert table.kind == "ratings"
    assert [finding for finding in table.findings if finding.level != "note"] == []
    assert "1997-11-20" in table.read_as
    path.with_name(f"{path.name}.gz").write_bytes(gzip.compress(path.read_bytes()))
    assert same(read_ratings(path.with_name(f"{path.name}.gz")), frame)


def test_blocks_of_ratings_read_as_a_table(tmp_path):
    frame = drawn().sort_values("item", kind="stable", ignore_index=True)
    frame["time"] = pd.to_datetime(frame["time"], unit="s").dt.normalize()
    lines = []
    for item, block in frame.groupby("item"):
        lines += [f"{item}:", *(f"{row.user},{row.rating},{row.time:%Y-%m-%d}" for row in block.itertuples())]
    (tmp_path / "combined_data_1.txt").write_text("\n".join(lines))
    table = read_ratings(tmp_path / "combined_data_1.txt")
    assert table.columns == ("user", "item", "rating")
    assert same(table, frame)
    lines[30] = lines[30].replace(",", ",x", 1)
    (tmp_path / "combined_data_1.txt").write_text("\n".join(lines))
    (finding,) = (one for one in read_ratings(tmp_path / "combined_data_1.txt").findings if one.level == "error")
    assert finding.where == "combined_data_1.txt, line 31"


def test_json_with_lists_and_nested_names(tmp_path):
    frame = drawn()
    rows = [
        {
            "reviewerID": f"A{row.user}",
            "asin": f"B{row.item}",
            "overall": float(row.rating),
            "unixReviewTime": row.time,
            "helpful": [0, 1],
        }
        for row in frame.itertuples()
    ]
    (tmp_path / "reviews.json.gz").write_bytes(gzip.compress("\n".join(map(json.dumps, rows)).encode()))
    expected = frame.assign(user=[f"A{one}" for one in frame["user"]], item=[f"B{one}" for one in frame["item"]])
    table = read_ratings(tmp_path / "reviews.json.gz")
    assert same(table, expected)
    assert "not used: helpful" in table.read_as
    frame.to_json(tmp_path / "r.jsonl", orient="records", lines=True)
    assert takes(tmp_path / "r.jsonl")
    frame.assign(item="a.png").to_json(tmp_path / "i.jsonl", orient="records", lines=True)
    assert not takes(tmp_path / "i.jsonl")


def test_products_before_reviewers_are_told_apart_without_a_header(tmp_path):
    frame = drawn()
    frame["user"], frame["item"] = [f"A{one:013d}" for one in frame["user"]], [f"B{one:09d}" for one in frame["item"]]
    (tmp_path / "Toys.csv").write_text(text(frame[["item", "user", "rating", "time"]], ","))
    assert same(read_ratings(tmp_path / "Toys.csv"), frame)


def test_columns_that_are_blank_or_number_the_rows_are_no_roles(tmp_path):
    frame = drawn()
    pairs = frame[["user", "item", "rating"]]
    tabs = "\n".join(f"{row.user}\t\t{row.item}\t\t{row.rating}" for row in frame.itertuples())
    (tmp_path / "jester_ratings.dat").write_text(tabs)
    table = read_ratings(tmp_path / "jester_ratings.dat")
    assert same(table, pairs)
    assert "not used" not in table.read_as
    pairs.to_csv(tmp_path / "saved.csv")
    assert same(read_ratings(tmp_path / "saved.csv"), pairs)
    pairs.rename_axis("Rating_id").reset_index().to_csv(tmp_path / "numbered.csv", index=False)
    assert same(read_ratings(tmp_path / "numbered.csv"), pairs)


def test_averages_of_items_are_not_their_ratings():
    frame = drawn()
    frame.insert(2, "place_rating", frame["item"] / 100)
    frame = frame.rename(columns={"rating": "user_rating"})
    assert read_ratings(frame).columns == ("user", "item", "user_rating")
    assert read_ratings(frame.rename(columns={"user_rating": "stars"})).columns == ("user", "item", "stars")


def test_frames_parquet_and_json_lines_read_as_text_does(tmp_path):
    frame = drawn().rename(columns={"item": "title"})
    frame["title"] = [f"No. {one}" for one in frame["title"]]
    expected = frame.rename(columns={"title": "item"})
    frame.to_parquet(tmp_path / "r.parquet")
    frame.to_json(tmp_path / "r.jsonl", orient="records", lines=True)
    for source in (frame, frame.astype({"title": "category"}), tmp_path / "r.parquet", tmp_path / "r.jsonl"):
        assert same(read_ratings(source), expected)


@pytest.mark.parametrize("seed", range(4))
def test_a_table_shuffled_renamed_and_written_anew_reads_the_same(seed, tmp_path):
    rng, frame = np.random.default_rng(seed), drawn(seed)
    names = {
        "user": ["user_id", "UserID", "uid", "member", "usuario"],
        "item": ["movieId", "ASIN", "artistID", "producto_id", "jeu"],
        "rating": ["rating", "Score", "stars", "review/score", "Bewertung"],
        "time": ["timestamp", "ts", "rated_at_time", "unixReviewTime", "date"],
    }
    header = {role: str(rng.choice(some)) for role, some in names.items()}
    shuffled = frame.sample(frac=1, random_state=seed)[list(rng.permutation(frame.columns))]
    path = tmp_path / "x.csv"
    path.write_text(
        text(shuffled, str(rng.choice([",", ";", "\t", "|", "::"])), [header[name] for name in shuffled.columns])
    )
    table = read_ratings(path)
    assert table.columns == tuple(header[role] for role in ("user", "item", "rating"))
    assert same(table, frame)


def test_a_scale_that_is_stretched_stays_a_scale(tmp_path):
    frame = drawn()
    for factor, shift in ((1, 0), (0.5, 0), (2, 0), (20, 0), (1, -3), (5, -15)):
        moved = frame.assign(rating=frame["rating"] * factor + shift)
        table = read_ratings(moved)
        assert table.kind == "ratings"
        assert same(table, moved)


def test_ids_keep_how_they_are_written(tmp_path):
    frame = drawn()
    frame["item"] = [f"{one:05d}" for one in frame["item"]]
    (tmp_path / "r.csv").write_text(text(frame, ",", frame.columns))
    table = read_ratings(tmp_path / "r.csv")
    assert same(table, frame)
    assert isinstance(table.frame["user"].tolist()[0], int)
    assert table.frame["item"].tolist()[0] == frame["item"][0]
    quoted = frame.assign(item=[f'"""{one}"""' for one in frame["item"]])
    (tmp_path / "q.csv").write_text(text(quoted, ",", frame.columns))
    table = read_ratings(tmp_path / "q.csv")
    assert same(table, frame)
    assert "ids in quotes of their own" in {finding.rule for finding in table.findings}


def test_what_was_recognised_is_said_in_one_line(tmp_path):
    (tmp_path / "r.dat").write_text(text(drawn(), "::"))
    assert read_ratings(tmp_path / "r.dat").read_as == (
        "cells separated by `::`, no header, user column 1, item column 2, rating column 3 1 to 5, "
        "time column 4 1997-11-20 to 1997-11-24"
    )
    frame = drawn().assign(mood="fine", browser=np.random.default_rng(1).integers(0, 3, 400))
    (tmp_path / "r.csv").write_text(text(frame, ",", frame.columns))
    assert read_ratings(tmp_path / "r.csv").read_as == (
        "user user, item item, rating 1 to 5, time 1997-11-20 to 1997-11-24; not used: mood, browser"
    )


def test_given_columns_win_and_one_column_has_one_role(tmp_path):
    frame = drawn().assign(other=drawn(seed=1)["item"])
    assert read_ratings(frame, item="other").columns == ("user", "other", "rating")
    assert read_ratings(frame, user="item", item="user").columns == ("item", "user", "rating")
    with pytest.raises(TableError, match="`user` cannot be both the user and the item"):
        read_ratings(frame, user="user", item="user")
    with pytest.raises(TableError, match=r"no column `usr`. Did you mean `user`\?"):
        read_ratings(frame, user="usr")
    (tmp_path / "u.data").write_text(text(drawn(), "\t"))
    assert same(read_ratings(tmp_path / "u.data", user="1", item="column 2", rating="3"), drawn())
    with pytest.raises(TableError, match="it has no header: name a column by its number, 1 to 4"):
        read_ratings(tmp_path / "u.data", user="who")


def wide(frame, blank):
    cells = frame.pivot_table(index="user", columns="item", values="rating")
    cells = cells.reindex(range(1, N_USERS + 1), columns=range(101, 101 + N_ITEMS))
    return cells.map(lambda cell: blank if np.isnan(cell) else f"{cell:g}")


def test_wide_tables_read_as_long_ones(tmp_path):
    frame = drawn()
    pairs = frame[["user", "item", "rating"]]
    jester = wide(frame, "99")
    jester.insert(0, "n", frame.groupby("user").size().reindex(jester.index))
    (tmp_path / "jester.csv").write_text(text(jester, ","))
    table = read_ratings(tmp_path / "jester.csv")
    assert same(table, pairs.assign(item=pairs["item"] - 100))
    assert 'are 99: taken as "had, not rated"' in table.read_as
    assert "the first column counts" in table.read_as
    blank = wide(frame, "").reset_index()
    (tmp_path / "wide.csv").write_text(text(blank, ";", blank.columns))
    assert same(read_ratings(tmp_path / "wide.csv"), pairs)
    turned = wide(frame, "").T.reset_index()
    (tmp_path / "turned.csv").write_text(text(turned, ",", ["JokeId", *(f"User{one}" for one in turned.columns[1:])]))
    expected = pairs.assign(user=[f"User{one}" for one in pairs["user"]])
    assert same(read_ratings(tmp_path / "turned.csv"), expected)


def zeros(frame, share, seed=0):
    chosen = np.random.default_rng(seed).random(len(frame)) < share
    return frame.assign(rating=np.where(chosen, 0, frame["rating"])), chosen


def test_zeros_far_more_frequent_than_their_neighbours_are_not_ratings():
    frame, chosen = zeros(drawn(), 0.6)
    table = read_ratings(frame)
    assert (table.frame["rating"].isna().to_numpy() == chosen).all()
    assert f'{chosen.mean():.0%} are 0: taken as "had, not rated"' in table.read_as
    assert len(table.rated) == (~chosen).sum()
    assert read_ratings(frame, not_rated="none").frame["rating"].notna().all()
    scale, chosen = zeros(drawn(), 0.1)
    assert read_ratings(scale).frame["rating"].notna().all()
    assert (read_ratings(scale, not_rated=0).frame["rating"].isna().to_numpy() == chosen).all()
    with pytest.raises(InputError, match="--not-rated 7: no row of `rating` has it; its numbers run from 0 to 5"):
        read_ratings(scale, not_rated=7)


def test_minus_one_below_a_scale_is_no_rating_and_beside_one_is():
    frame, chosen = zeros(drawn(), 0.2)
    watched = frame.assign(rating=np.where(chosen, -1, frame["rating"]))
    assert (read_ratings(watched).frame["rating"].isna().to_numpy() == chosen).all()
    likes = frame.assign(rating=np.where(chosen, -1, 1))
    assert read_ratings(likes).frame["rating"].notna().all()
    assert read_ratings(likes).kind == "ratings"


def test_counts_are_told_from_ratings():
    rng, frame = np.random.default_rng(0), drawn()
    long_tail = np.ceil(rng.lognormal(4, 1.5, len(frame))).astype(int)
    for name in ("plays", "weight", "n"):
        table = read_ratings(frame.assign(rating=long_tail).rename(columns={"rating": name}))
        assert table.kind == "counts", name
        assert "taken as counts" in table.read_as
    percent = frame.assign(rating=rng.integers(1, 101, len(frame)))
    assert read_ratings(percent).kind == "ratings"
    assert read_ratings(frame.rename(columns={"rating": "quantity"})).kind == "counts"


def test_a_constant_rating_and_none_at_all_are_taken_as_seen():
    frame = drawn()
    table = read_ratings(frame.assign(rating=1))
    assert (table.kind, table.columns) == ("seen", ("user", "item", "rating"))
    assert "all ratings are the same: taken as seen" in {finding.rule for finding in table.findings}
    table = read_ratings(frame.drop(columns="rating"))
    assert (table.kind, table.columns, table.time) == ("seen", ("user", "item", "seen"), "time")
    assert read_ratings(frame, implicit=True).columns == ("user", "item", "seen")


def damaged(tmp_path):
    rows = drawn(n=40)[["user", "item", "rating"]].astype(str)
    rows.loc[3, "user"], rows.loc[7, "item"], rows.loc[11, "rating"], rows.loc[12, "rating"] = "", " ", "good", ""
    lines = text(rows, ",", ["user", "item", "rating"]).splitlines()
    lines.insert(10, "")
    lines[20] += ",5"
    path = tmp_path / "bad.csv"
    path.write_text("\n".join(lines))
    return path


def test_rows_that_cannot_be_used_are_named_by_their_lines_and_left_out_if_wished(tmp_path):
    path = damaged(tmp_path)
    table = read_ratings(path)
    errors = {finding.rule: finding for finding in table.findings if finding.level == "error"}
    where = {rule: finding.where for rule, finding in errors.items()}
    assert where == {
        "row without user": "bad.csv, line 5",
        "row without item": "bad.csv, line 9",
        "rating that is no number": "bad.csv, line 14 and 15",
        "row with another number of cells": "bad.csv, line 21",
    }
    assert errors["rating that is no number"].value == "2 of 39 rows: 'good', blank"
    with pytest.raises(TableError, match=r"(?s)row without user.*--on-bad skip leaves such rows out"):
        table.require_usable()
    table = read_ratings(path, on_bad="skip")
    table.require_usable()
    assert len(table.frame) == 35
    assert sum(finding.level == "warning" for finding in table.findings) == 4
    with pytest.raises(UnknownNameError, match=r"no way to treat bad rows `skpi`. Did you mean `skip`\?"):
        read_ratings(path, on_bad="skpi")


@pytest.mark.parametrize("seed", range(3))
def test_lines_are_those_of_the_file(seed, tmp_path):
    rng, frame = np.random.default_rng(seed), drawn(seed, n=60).astype(str)
    bad = int(rng.integers(60))
    frame.loc[bad, "rating"] = "x"
    lines = text(frame, "\t", frame.columns).splitlines()
    for at in sorted(rng.integers(1, 60, 3).tolist(), reverse=True):
        lines.insert(at, "")
    path = tmp_path / "r.tsv"
    path.write_bytes("\r\n".join(lines).encode())
    (finding,) = (one for one in read_ratings(path).findings if one.level == "error")
    assert (
        finding.where
        == f"r.tsv, line {next(at for at, line in enumerate(lines, start=1) if line.split(chr(9))[2:3] == ['x'])}"
    )


def test_a_pair_in_several_rows_is_one():
    frame = pd.DataFrame(
        {"user": [1, 1, 2, 1], "item": ["a", "a", "a", "b"], "rating": [5, 2, 3, 4], "time": [9, 3, 1, 1]}
    )
    latest = read_ratings(frame)
    assert plain(latest)["rating"].tolist() == [5, 4, 3]
    (finding,) = (one for one in latest.findings if one.level == "warning")
    assert (finding.where, finding.value) == ("the table, row 1, 2", "1 pairs in 2 rows")
    assert plain(read_ratings(frame.drop(columns="time")))["rating"].tolist() == [2, 4, 3]
    counts = read_ratings(frame.rename(columns={"rating": "plays"}))
    assert plain(counts)["rating"].tolist() == [7, 4, 3]


def test_a_damaged_table_is_read_or_refused_in_words(tmp_path):
    rng, names = np.random.default_rng(0), list(LAYOUTS)
    pieces = [b'"', b"\n", b",", b"\t", b"::", b"\0", b"nan", b"1e400", "é".encode(), b"\xff", b"9" * 30]
    n_read = n_refused = 0
    for seed in range(150):
        layout = names[seed % len(names)]
        data = LAYOUTS[layout](drawn(seed % 3, n=int(rng.choice([1, 2, 10, 60])))).encode()
        for _ in range(int(rng.integers(4))):
            at, cut = int(rng.integers(len(data))), int(rng.integers(30))
            data = data[:at] + pieces[int(rng.integers(len(pieces)))] + data[at + cut * int(rng.integers(2)) :]
        path = tmp_path / f"x{layout[layout.rindex('.') :]}"
        path.write_bytes(data)
        takes(path)
        try:
            n_read += len(read_ratings(path).frame) > 0
        except FovealError as error:
            n_refused += bool(str(error))
    assert n_read + n_refused == 150
    assert n_read > 75


def test_a_column_with_one_value_is_no_user():
    table = read_ratings(drawn().assign(user=1))
    assert [finding.rule for finding in table.findings if finding.level == "error"] == ["every row has the same user"]


def catalogue_files(folder):
    """The items, the users whose ids cover all of the items, and tags, as they lie beside each other."""
    ids = range(101, 101 + N_ITEMS)
    movies = pd.DataFrame(
        {
            "movieId": ids,
            "title": [f"Film No. {one}, The" for one in ids],
            "genres": "Drama|Comedy",
            "imdbURL": "http://x.org/1",
        }
    )
    movies.loc[::2, "genres"] = "Action"
    movies.to_csv(folder / "movies.csv", index=False)
    users = pd.DataFrame({"id": range(1, 200), "name": "Ann", "age": 30, "gender": "F", "zip": 12345})
    users.to_csv(folder / "users.csv", index=False)
    users.to_csv(folder / "people.csv", index=False)
    (folder / "users.dat").write_text(text(users, "::"))
    pd.DataFrame({"userId": 1, "movieId": [*ids, *ids], "tag": "nice"}).to_csv(folder / "tags.csv", index=False)
    pd.DataFrame({"movieId": ids, "imdbId": ids}).to_csv(folder / "links.csv", index=False)


def test_titles_are_read_from_beside_and_users_are_never_taken_for_items(tmp_path):
    catalogue_files(tmp_path)
    (tmp_path / "ratings.csv").write_text(text(drawn(), ",", ["userId", "movieId", "rating", "timestamp"]))
    table = read_ratings(tmp_path)
    assert table.catalogue.source == "movies.csv"
    assert table.catalogue.titles[101] == "Film No. 101, The"
    assert table.catalogue.features.loc[102].to_dict() == {"genres": "Drama|Comedy"}
    assert table.read_as.endswith("; titles and genres from movies.csv")
    assert read_ratings(tmp_path, items="none").catalogue is None
    (tmp_path / "movies.csv").unlink()
    table = read_ratings(tmp_path)
    assert table.catalogue is None or table.catalogue.source == "links.csv"
    (tmp_path / "links.csv").unlink()
    assert read_ratings(tmp_path).catalogue is None
    with pytest.raises(InputError, match=r"There is no table of items .*Did you mean `links.csv`|There is no table"):
        read_ratings(tmp_path, items=tmp_path / "link.csv")


@pytest.mark.parametrize("header", [None, ["userId", "movieId", "rating", "timestamp"]])
def test_tables_of_other_things_are_never_taken_for_the_items(header, tmp_path):
    (tmp_path / "u.data").write_text(text(drawn(), "\t", header))
    wines = pd.DataFrame(np.random.default_rng(0).random((300, 4)), columns=list("abcd"))
    wines.to_csv(tmp_path / "wine.csv")
    wines.to_csv(tmp_path / "products.csv", index_label="id")
    assert read_ratings(tmp_path / "u.data").catalogue is None
    names = pd.DataFrame({"id": range(1, 300), "name": [f"Wine {one}" for one in range(1, 300)]})
    names.to_csv(tmp_path / "wines.csv", index=False)
    catalogue = read_ratings(tmp_path / "u.data").catalogue
    assert catalogue is None if header else catalogue.titles[101] == "Wine 101"


def test_ids_that_come_again_are_items_before_numbers_of_rows():
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(
        {"purchase_id": range(1, 18), "user_id": rng.integers(0, 9, 17), "car_id": rng.integers(0, 5, 17)}
    )
    table = read_ratings(frame)
    assert table.columns == ("user_id", "car_id", "seen")


def test_a_table_of_items_is_read_in_latin_1_and_without_a_header(tmp_path):
    ids = range(101, 101 + N_ITEMS)
    lines = [f"{one}|Café {one} (1995)|01-Jan-1995||http://us.imdb.com/{one}|{one % 2}|{1 - one % 2}|0" for one in ids]
    (tmp_path / "u.item").write_bytes("\n".join(lines).encode("latin-1"))
    (tmp_path / "u.genre").write_text("unknown|0\nAction|1\nDrama|2\n\n")
    (tmp_path / "u.user").write_text("".join(f"{one}|24|M|technician|85711\n" for one in range(1, 200)))
    (tmp_path / "u.data").write_text(text(drawn(), "\t"))
    catalogue = read_ratings(tmp_path).catalogue
    assert (catalogue.source, catalogue.titles[101]) == ("u.item", "Café 101 (1995)")
    assert catalogue.features.loc[101, ["unknown", "Action", "Drama"]].tolist() == [1, 0, 0]
    assert not any("http" in str(cell) for cell in catalogue.features.to_numpy().ravel())


def test_catalogues_of_books_and_of_several_keys(tmp_path):
    frame = drawn()[["user", "item", "rating"]]
    rows = [f'"{row.user}";"{row.item:09d}X";"{row.rating}"' for row in frame.itertuples()]
    (tmp_path / "BX-Book-Ratings.csv").write_text("\r\n".join(['"User-ID";"ISBN";"Book-Rating"', *rows]))
    head = '"ISBN";"Book-Title";"Book-Author";"Image-URL-S"'
    books = [
        f'"{one:09d}X";"Die \\"Straße\\"; {one}";"Müller";"http://x/{one}.jpg"' for one in range(101, 101 + N_ITEMS)
    ]
    (tmp_path / "BX-Books.csv").write_bytes("\r\n".join([head, *books]).encode("latin-1"))
    (tmp_path / "BX-Users.csv").write_text('"User-ID";"Location"\n"1";"here"\n')
    table = read_ratings(tmp_path)
    assert table.catalogue.titles["000000101X"] == 'Die "Straße"; 101'
    assert list(table.catalogue.features.columns) == ["Book-Author"]
    other = tmp_path / "goodbooks"
    other.mkdir()
    frame.rename(columns={"user": "user_id", "item": "book_id"}).to_csv(other / "ratings.csv", index=False)
    ids = np.arange(101, 101 + N_ITEMS)
    books = pd.DataFrame({"id": ids, "book_id": ids + 5000, "authors": "A, B", "title": [f"T{one}" for one in ids]})
    books.to_csv(other / "books.csv", index=False)
    catalogue = read_ratings(other).catalogue
    assert (catalogue.titles[101], list(catalogue.features.columns)) == ("T101", ["authors"])


def test_lists_and_counts_of_members_are_features_of_an_anime(tmp_path):
    frame, chosen = zeros(drawn(), 0.2)
    frame["rating"] = np.where(chosen, -1, frame["rating"])
    rows = frame.drop(columns="time").rename(columns={"user": "user_id", "item": "anime_id"})
    rows.to_csv(tmp_path / "rating.csv", index=False)
    ids = range(101, 101 + N_ITEMS)
    about = {
        "anime_id": ids,
        "name": [f"N{one}" for one in ids],
        "genre": "Drama, Romance",
        "rating": 8.1,
        "members": ids,
    }
    pd.DataFrame(about).to_csv(tmp_path / "anime.csv", index=False)
    table = read_ratings(tmp_path)
    assert (table.frame["rating"].isna().to_numpy() == chosen).all()
    assert table.catalogue.titles[110] == "N110"
    assert table.catalogue.features.loc[110].to_dict() == {"genre": "Drama, Romance", "rating": 8.1, "members": 110}


def test_further_columns_that_are_true_of_an_item_describe_it(tmp_path):
    frame = drawn()
    frame["title"] = [f"T{one}" for one in frame["item"]]
    frame["genre"] = ["A|B" if one % 2 else "C" for one in frame["item"]]
    frame["price"] = frame["item"] / 4
    frame["age"] = frame["user"] + 20
    table = read_ratings(frame)
    assert table.catalogue.source == "the table"
    assert table.catalogue.titles[105] == "T105"
    assert table.catalogue.features.loc[105].to_dict() == {"genre": "A|B", "price": 26.25}
    assert table.read_as.endswith("; titles, genre and price of the items; not used: age")


def test_a_table_that_is_named_for_the_items_is_read_or_refused_with_the_reason(tmp_path):
    catalogue_files(tmp_path)
    other = tmp_path / "elsewhere"
    other.mkdir()
    (other / "r.csv").write_text(text(drawn(), ",", ["who", "what", "rating", "when"]))
    assert len(read_ratings(other / "r.csv", items=tmp_path / "movies.csv").catalogue.titles) == N_ITEMS
    (tmp_path / "few.csv").write_text("id,title\n101,One\n102,Two\n")
    with pytest.raises(InputError, match=r"`few.csv` \(--items\) has 8% of the items in any of its columns"):
        read_ratings(other / "r.csv", items=tmp_path / "few.csv")


def image_tables(folder):
    """Tables of images, some of which look like ratings."""
    from PIL import Image

    for one in range(12):
        Image.new("RGB", (8, 8)).save(folder / f"{one}.png")
    names = [f"{one}.png" for one in range(12)]
    tables = {
        "ratings.csv": pd.DataFrame({"user_id": 1, "image": names, "rating": range(12)}),
        "labels.csv": pd.DataFrame({"fname": names, "labels": "a b"}),
        "scores.csv": pd.DataFrame({"user": 1, "item": names, "score": range(12)}),
        "stems.csv": pd.DataFrame({"image_id": range(12), "user": 1, "score": range(12)}),
    }
    for name, table in tables.items():
        table.to_csv(folder / name, index=False)
    return [folder / name for name in tables]


def test_tables_of_images_are_never_taken_for_ratings(tmp_path):
    tables = image_tables(tmp_path)
    assert not any(takes(path) for path in (*tables, tmp_path, tmp_path / "nowhere.csv"))
    for path in tables:
        assert make_settings(table=path).kind == "images"
    (tmp_path / "u.data").write_text(text(drawn(), "\t"))
    assert not takes(tmp_path)
    assert takes(tmp_path / "u.data")
    assert make_settings(table=tmp_path / "u.data").kind == "rating"
    assert make_settings(table=tmp_path / "u.data", images=tmp_path).kind == "images"
    assert make_settings(table=tmp_path / "u.data", task="auto").kind == "images"


@pytest.mark.parametrize(
    "content",
    [
        "name,label\nx,1\ny,2\n",
        "x,y,z\n1,2,3\n4,5,6\n",
        "age,weight,height\n30,70,180\n31,71,181\n",
        "text,label\nhello,1\nbye,0\n",
        "id,review,rating\n1,good,5\n2,bad,1\n",
        "product_id,avg_rating,rating_count\n1,4.5,100\n2,3.5,20\n",
    ],
)
def test_other_tables_are_not_taken_for_ratings(content, tmp_path):
    (tmp_path / "data.csv").write_text(content)
    assert not takes(tmp_path / "data.csv")


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "it is empty"),
        (b"userId,movieId,rating\n", "has no rows below its header: userId, movieId, rating"),
        (b"only\none\ncolumn\n", "expected lines of the same number of cells"),
        (b"PK\x03\x04rest", "it is a ZIP archive or a workbook"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:1\nsize 1\n", "only a pointer of Git LFS"),
        (b"\x1f\x8bno gzip", "cannot be unpacked"),
        (b"user,item,rating\n,,\n,a,3\n", "has no row that can be used"),
    ],
)
def test_what_is_no_table_is_refused_with_the_reason(data, message, tmp_path):
    (tmp_path / "ratings.csv").write_bytes(data)
    with pytest.raises(TableError, match=message):
        read_ratings(tmp_path / "ratings.csv")
    with pytest.raises(TableError, match=r"There is no table .*Did you mean `ratings.csv`"):
        read_ratings(tmp_path / "rating.csv")


def test_a_column_that_marks_validation_is_kept(foveal, tmp_path):
    frame = drawn().assign(
        is_valid=lambda one: one["time"] % 5000 == 0, side=lambda one: np.where(one["is_valid"], "valid", "train")
    )
    for name, given in (("is_valid", None), ("side", "side")):
        some = frame[["user", "item", "rating", name]]
        some.to_csv(tmp_path / "r.csv", index=False)
        kept = read_ratings(tmp_path / "r.csv", valid=given).frame[name]
        assert (kept.astype(str) == some[name].astype(str)).all()
        options = ["--valid-column", given] if given else []
        out = foveal("train", tmp_path / "r.csv", "--out", tmp_path / name, "--epochs", 1, "--factors", 2, *options).out
        assert f"{int(frame['is_valid'].sum())} to validate" in out
    with pytest.raises(TableError, match=r"no column `sid` \(--valid-column\). Did you mean `side`"):
        read_ratings(frame, valid="sid")


def test_settings_of_ratings_survive_the_file(tmp_path):
    from foveal.runs.settings import load_settings

    for not_rated, stored in (("0", 0.0), ("-1", -1.0), ("none", "none")):
        settings = make_settings(
            table="r.csv", task="rating", not_rated=not_rated, items="m.csv", on_bad="skip", time_column="t"
        )
        settings.save(tmp_path / "run.toml")
        again = load_settings(tmp_path / "run.toml")
        assert again.get("not_rated") == stored
        assert again.get("items").endswith("/m.csv")
        assert (again.get("on_bad"), again.get("time_column")) == ("skip", "t")
    with pytest.raises(InputError, match="--not-rated is a number, such as 0 or -1, or 'none'; got 'zero'"):
        make_settings(table="r.csv", task="rating", not_rated="zero")


def test_a_folder_with_several_tables_of_ratings_names_them(tmp_path):
    for name in ("ratings_a.csv", "ratings_b.csv"):
        (tmp_path / name).write_text(text(drawn(), ",", ["userId", "movieId", "rating", "timestamp"]))
    with pytest.raises(InputError, match=r"several tables of ratings: ratings_a.csv, ratings_b.csv. Name the one"):
        read_ratings(tmp_path)
    (tmp_path / "ratings.csv").write_text(text(drawn(), ",", ["userId", "movieId", "rating", "timestamp"]))
    assert same(read_ratings(tmp_path), drawn())


def test_from_a_public_layout_to_a_model_without_naming_the_task(foveal, tmp_path):
    catalogue_files(tmp_path)
    frame, chosen = zeros(drawn(), 0.6)
    path = tmp_path / "ratings.csv"
    path.write_text(text(frame, ",", ["userId", "movieId", "rating", "timestamp"]) + ",101,5,880000000\n")
    refused = foveal("train", path, "--out", tmp_path / "run", code=2).err
    assert "row without user" in refused
    assert "ratings.csv, line 402" in refused
    assert "--on-bad skip" in refused
    checked = json.loads(foveal("check", path, "--json", code=1).out)
    assert {"row without user"} == {one["rule"] for one in checked["findings"] if one["level"] == "error"}
    assert checked["figures"]["read as"].startswith("user userId, item movieId, rating 1 to 5")
    foveal("check", path, "--on-bad", "skip", "--html", tmp_path / "page.html")
    assert "row without user" in (tmp_path / "page.html").read_text()
    out = foveal("train", path, "--out", tmp_path / "run", "--on-bad", "skip", "--epochs", 1, "--factors", 4).out
    assert out.startswith("read as: user userId, item movieId, rating 1 to 5, ")
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert summary["n_train"] + summary["n_valid"] == (~chosen).sum()
    again = library.train(tmp_path / "run" / "run.toml", out=tmp_path / "again", epochs=2)
    assert len(pd.read_json(again.folder / "history.jsonl", lines=True)) == 2


def test_counts_are_trained_as_implicit_feedback(foveal, tmp_path):
    plays = np.ceil(np.random.default_rng(0).lognormal(4, 1.5, 400)).astype(int)
    frame = drawn().assign(rating=plays)[["user", "item", "rating"]]
    path = tmp_path / "user_artists.dat"
    path.write_bytes(text(frame, "\t", ["userID", "artistID", "weight"], "\r\n").encode())
    out = foveal("train", path, "--out", tmp_path / "run", "--epochs", 1, "--factors", 4).out
    assert "taken as counts, not as ratings" in out
    assert json.loads((tmp_path / "run" / "summary.json").read_text())["task"] == "seen"


def test_names_of_columns_say_their_role():
    roles = {
        "user": ["userId", "user_id", "User-ID", "uid", "reviewerID", "customer", "review/userId", "Benutzer"],
        "item": ["movieId", "anime_id", "ISBN", "asin", "product", "artistID", "title", "movie_clip_id", "placeID"],
        "rating": ["rating", "score", "stars", "overall", "Book-Rating", "plays", "playcount", "review_score", "Note"],
        "time": ["timestamp", "date", "unixReviewTime", "reviewTime", "rating_date"],
    }
    for role, names in roles.items():
        assert {name: getattr(claim_of(name), "role", None) for name in names} == dict.fromkeys(names, role)
    for name in ("average_rating", "rating_count", "Rating_id", "price", "genres", "age", "x"):
        assert claim_of(name) is None, name
