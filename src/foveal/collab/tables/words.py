"""What columns and files are called that hold users, items, ratings and times."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Literal, NamedTuple

Role = Literal["user", "item", "rating", "time"]
ROLES: tuple[Role, ...] = ("user", "item", "rating", "time")

_USER = (
    "user users usr uid member customer cust client reviewer critic rater person people reader viewer listener player "
    "visitor account profile subscriber consumer buyer guest steamid usuario usuaria utilisateur utilisatrice "
    "benutzer nutzer kunde cliente utente gebruiker uzytkownik kullanici пользователь 用户 用户名 ユーザー"
)
_THINGS = (
    "item movie film book product article anime manga artist band album song track music game app joke restaurant "
    "place business venue recipe beer wine hotel course show series video news store shop listing destination "
    "attraction cuisine food dish drink perfume paper story repo podcast poi"
)
_FOREIGN_THINGS = (
    "pelicula libro producto articulo cancion juego livre produit chanson jeu buch produkt artikel lied spiel filme "
    "livro produto prodotto canzone gioco boek фильм книга товар 电影 书 商品 作品 映画"
)
_ITEM_CODES = "isbn isbn13 asin sku stockcode mid iid bid vid gtin ean upc objekt object doc document content"
_TITLES = "title titel titre titulo titolo название 标题 headline"
_RATING = (
    "rating ratings score scores stars star overall grade mark rate rated vote bewertung wertung note nota punktzahl "
    "punkte puntuacion puntaje calificacion valoracion avaliacao voto valutazione cijfer ocena оценка рейтинг 评分 評価"
)
_AMOUNT = (
    "plays playcount playcounts listens listencount listen scrobbles weight quantity qty count counts hours playtime "
    "clicks views purchases frequency freq times menge anzahl cantidad quantite visits checkins"
)
_VALUE = "value preference pref strength amount valor wert valeur like liked likes interest feedback label"
_TIME = (
    "timestamp time date datetime ts unixtime unixreviewtime reviewtime created updated createdat updatedat tstamp "
    "datum zeit fecha hora data heure zeitpunkt when year_month время дата 时间 日時"
)
_CODE_WORDS = "id ids no nr num number key code idx index uuid guid hash identifier kennung nummer numero codigo ident"
_CODES = frozenset(_CODE_WORDS.split())
_NAMES = frozenset(("name", "names", "title", "titel", "username", "nom", "nombre", "nome"))
_SUMMARY_WORDS = "avg average mean median total sum max min std var n critic critics imdb tmdb helpful unhelpful"
_SUMMARIES = frozenset(_SUMMARY_WORDS.split())
"""Words beside that for a rating which make it one of the item, and not of a user."""
_NO_USER_FILES = frozenset(("rating", "ratings"))
_PERSONAL = frozenset(
    ("age", "gender", "sex", "occupation", "zip", "zipcode", "location", "country", "email", "birthday")
)
_FILES_OF_ITEMS = frozenset(("item", "items", "meta", "metadata", "catalog", "catalogue", "titles", "katalog", "info"))

_WORDS: dict[str, tuple[Role, float]] = {}
for _text, _role, _score in (
    (_VALUE, "rating", 1.0),
    (_AMOUNT, "rating", 2.0),
    (_TITLES, "item", 0.5),
    (_TIME, "time", 2.0),
    (_USER, "user", 2.0),
    (_THINGS, "item", 2.0),
    (_FOREIGN_THINGS, "item", 2.0),
    (_ITEM_CODES, "item", 2.5),
    (_RATING, "rating", 3.0),
):
    for _word in _text.split():
        _WORDS[_word] = (_role, _score)  # type: ignore[assignment]  # the texts stand beside their roles
_SPECIFIC = frozenset((*_THINGS.split(), *_FOREIGN_THINGS.split())) - frozenset(
    ("item", "product", "article", "place", "business", "content", "store", "shop", "listing", "destination")
)
"""Words for items that say which things they are."""
_AMOUNT_WORDS = frozenset(_AMOUNT.split())
_RATING_WORDS = frozenset(_RATING.split())
_LONGEST_SUFFIX = 4  # letters of a word at the end of one that is written together: "bookrating"; chosen by hand


class Claim(NamedTuple):
    """What a column is by its name.

    Attributes:
        role: that it seems to have.
        score: how sure; an id is surer than a name.
        noun: the word that it has the role by.
        is_name: whether it names in words what another column may identify.
    """

    role: Role
    score: float
    noun: str
    is_name: bool


def words_of(name: str) -> list[str]:
    """Return the words of a name in lower case.

    Args:
        name: of a column or file.

    >>> words_of("User-ID"), words_of("unixReviewTime"), words_of("review/userId"), words_of("BX-Books")
    (['user', 'id'], ['unix', 'review', 'time'], ['review', 'user', 'id'], ['bx', 'books'])
    """
    split = re.sub(r"([a-z\d])([A-Z])", r"\1 \2", re.sub(r"([A-Z]+)([A-Z][a-z])", r"\1 \2", name))
    return [word.lower() for word in re.findall(r"[^\W_]+", _plain(split))]


def _plain(text: str) -> str:
    return text.translate(str.maketrans("áàâäãéèêëíìîïóòôöõúùûüçñşıÁÉÍÓÚÖÜÄ", "aaaaaeeeeiiiiooooouuuucnsiAEIOUOUA"))


@lru_cache(maxsize=4096)
def claim_of(name: str) -> Claim | None:
    """Return the role that a column seems to have by its name; None where the name says nothing.

    Args:
        name: of the column.

    >>> claim_of("User-ID").role, claim_of("Book-Rating").role, claim_of("bookrating").role, claim_of("movieId").role
    ('user', 'rating', 'rating', 'item')
    >>> claim_of("average_rating"), claim_of("price")
    (None, None)
    """
    words = words_of(re.split(r"[(:]", name)[0]) or words_of(name)
    if not words:
        return None
    joined = "".join(words)
    if joined in _WORDS:
        role, score = _WORDS[joined]
        return Claim(role, score + 0.5, joined, joined in _TITLES.split())
    is_code = words[-1] in _CODES
    is_name = words[-1] in _NAMES
    body = words[:-1] if (is_code or is_name) and len(words) > 1 else words
    noun = body[-1]
    known = _known(noun)
    if known is None and (is_code or is_name):  # "movie_clip_id"
        known = next((other for word in body if (other := _known(word)) is not None and other[1][0] == "item"), None)
    if known is None:
        return None
    word, (role, score), was_code, was_name = known
    is_code, is_name = is_code or was_code, is_name or was_name
    if role == "rating" and (set(words) & _SUMMARIES or (len(body) > 1 and _is_summary(body))):
        return None
    if is_code and role in {"rating", "time"}:  # numbers the ratings
        return None
    by_user = 0.5 if role == "rating" and any(_WORDS.get(one, ("", 0))[0] == "user" for one in body) else 0.0
    score += (1.0 if is_code else -1.0 if is_name else 0.0) - 0.1 * (len(body) - 1) + by_user
    return Claim(role, score, word, is_name)


def _is_summary(body: list[str]) -> bool:
    """Return whether words mean how many ratings an item has: "ratings_count"."""
    return body[-1] in {"count", "counts", "votes"} and body[-2] in _RATING_WORDS | {"review", "reviews"}


def _known(word: str) -> tuple[str, tuple[Role, float], bool, bool] | None:
    """Return (word, (role, score), has a code's ending, has a name's ending) of a word, perhaps written together."""
    if word in _WORDS:
        return word, _WORDS[word], False, word in _TITLES.split()
    singular = word.rstrip("0123456789").removesuffix("s")
    if singular in _WORDS:
        return singular, _WORDS[singular], False, False
    for ending in ("id", "no", "nr", "key", "code", "number", "idx"):
        if word.endswith(ending) and word.removesuffix(ending) in _WORDS:
            stem = word.removesuffix(ending)
            return stem, _WORDS[stem], True, False
    for ending in ("name", "title"):
        if word.endswith(ending) and word.removesuffix(ending) in _WORDS:
            stem = word.removesuffix(ending)
            return stem, _WORDS[stem], False, True
    for start in range(1, len(word) - _LONGEST_SUFFIX + 1):
        if word[start:] in _WORDS and _WORDS[word[start:]][0] in {"rating", "time"}:
            return word[start:], _WORDS[word[start:]], False, False
    return None


def is_code(name: str) -> bool:
    """Return whether a column's name says that it identifies something.

    Args:
        name: of the column.

    >>> is_code("car_id"), is_code("carID"), is_code("car")
    (True, True, False)
    """
    return words_of(name)[-1:] != [] and words_of(name)[-1] in _CODES


def about_other_things(file: str, item: str) -> bool:
    """Return whether a file is by its name about things that the items are not: wines, where these are films.

    Args:
        file: its name.
        item: the column of the items.
    """
    claim, word = claim_of(item), names_items(file)
    if claim is None or claim.role != "item" or word is None:
        return False
    return claim.noun in _SPECIFIC and word in _SPECIFIC and claim.noun != word


def is_amount(name: str) -> bool:
    """Return whether a column's name says that something is counted."""
    return bool(set(words_of(name)) & _AMOUNT_WORDS) or "".join(words_of(name)) in _AMOUNT_WORDS


def is_rating(name: str) -> bool:
    """Return whether a column's name says that something is rated."""
    claim = claim_of(name)
    return claim is not None and claim.role == "rating" and claim.noun in _RATING_WORDS


def names_users(name: str) -> bool:
    """Return whether the name of a file says that it is about users."""
    words = set(words_of(name.partition(".")[0])) | set(words_of(name))
    return any((_WORDS.get(word) or _WORDS.get(word.removesuffix("s")) or ("", 0))[0] == "user" for word in words)


def names_items(name: str) -> str | None:
    """Return the word by which the name of a file says that it is about items.

    Args:
        name: of the file, with its ending.

    >>> names_items("BX-Books.csv"), names_items("u.item"), names_items("users.dat"), names_items("movie_ratings.csv")
    ('book', 'item', None, None)
    """
    words = words_of(name)
    if set(words) & _NO_USER_FILES or names_users(name):
        return None
    for word in words:
        if word in _FILES_OF_ITEMS:
            return "item"
        for form in (word, word.removesuffix("s"), word.removesuffix("es"), word.removesuffix("ies") + "y"):
            if form in _WORDS and _WORDS[form][0] == "item":
                return "item" if form in _TITLES.split() else form
    return None


def is_personal(name: str) -> bool:
    """Return whether a column's name says something that is true of people."""
    return bool(set(words_of(name)) & _PERSONAL)


def is_title(name: str) -> bool:
    """Return whether a column's name says that it names items in words.

    Args:
        name: of the column.

    >>> is_title("movie title"), is_title("name"), is_title("genres"), is_title("Book-Title")
    (True, True, False, True)
    """
    words = words_of(name)
    joined = "".join(words)
    return (
        bool(words)
        and (
            words[-1] in _NAMES
            or joined in _TITLES.split()
            or joined.endswith(("title", "name", "text"))
            or words[-1] in {"text", "joke"}
        )
        and "user" not in words
    )
