r"""Units behind an answer: ``864 \mbox{ inches}^2``, ``\$18.90``, ``75^\circ``, ``12\%``, ``5 apples``.

A unit on one side alone is decoration: the question has fixed it. Units on both sides must agree, their
exponents included. Words that change the value (``million``, ``or more``, ``squared``) are never units.
"""

import re
from dataclasses import dataclass
from functools import lru_cache

_SYNONYMS: dict[str, str] = {
    synonym: unit
    for unit, synonyms in {
        "degree": "degree degrees deg", "radian": "radian radians rad", "dollar": "dollar dollars usd", "cent": "cent cents",
        "euro": "euro euros eur", "pound": "pound pounds lb lbs", "ounce": "ounce ounces oz", "rupee": "rupee rupees rs",
        "meter": "meter meters metre metres m", "centimeter": "centimeter centimeters centimetre centimetres cm",
        "millimeter": "millimeter millimeters millimetre millimetres mm", "nanometer": "nanometer nanometers nm",
        "kilometer": "kilometer kilometers kilometre kilometres km", "mile": "mile miles mi", "foot": "foot feet ft",
        "inch": "inch inches in", "yard": "yard yards yd", "liter": "liter liters litre litres l",
        "milliliter": "milliliter milliliters ml", "gallon": "gallon gallons gal", "gram": "gram grams g gm",
        "kilogram": "kilogram kilograms kg kgs", "milligram": "milligram milligrams mg", "ton": "ton tons tonne tonnes",
        "second": "second seconds sec secs s", "minute": "minute minutes min mins", "hour": "hour hours hr hrs h",
        "day": "day days", "week": "week weeks", "month": "month months", "year": "year years yr yrs",
        "mph": "mph", "kmh": "kmh kph", "newton": "newton newtons", "joule": "joule joules j", "watt": "watt watts w",
        "volt": "volt volts v", "kelvin": "kelvin k", "hertz": "hertz hz", "electronvolt": "ev", "unit": "unit units",
        "acre": "acre acres", "hectare": "hectare hectares",
    }.items()
    for synonym in synonyms.split()
}  # fmt: skip

_VALUE_CHANGING = frozenset(
    """and or not to no none all any at most least more less than about approximately approx nearly only between through
    dozen dozens hundred hundreds thousand thousands million millions billion billions trillion trillions percent percentage
    half halves third thirds quarter quarters fourth fifth sixth seventh eighth ninth tenth tenths hundredth hundredths
    one two three four five six seven eight nine ten eleven twelve zero twenty thirty forty fifty sixty seventy eighty ninety
    squared cubed times plus minus over divided multiplied factorial choose mod modulo remainder root sqrt sine cosine
    tangent sin cos tan log ln exp inf infinity infinite undefined base double twice triple negative positive except where for if
    when every each mixed others other else either neither nor""".split()
)
_PER = re.compile(r"\s*(?:/|\bper\b)\s*")
_POWER_WORDS = {"square": 2, "sq": 2, "cubic": 3, "cu": 3}
_CURRENCIES = {"\\dollar": "dollar", "€": "euro", "£": "pound sterling", "¥": "yen", "₹": "rupee"}

_CURRENCY = re.compile(r"^([+-]?)\s*(\\dollar|[€£¥₹])\s*(.+)$")
_PERCENT = re.compile(r"^(.*\S)\s*(?:%|\\text\{\s*(?:percent|%)\s*\}|\bpercent)$")
_TEMPERATURE = re.compile(r"^(.*\S)\s*\^\\circ\s*(?:\\text\{\s*)?([CFK])\s*\}?$")
_DEGREE = re.compile(r"^(.*\S)\s*\^\\circ$")
_WRAPPED = re.compile(r"^(.*\S)\s*\\text\{\s*([^{}\d]+?)\s*\}\s*(?:\^\s*\{?(\d)\}?)?$")
_BARE = re.compile(r"^(.*[\d})])(\s*)(?<![a-zA-Z\\])([a-zA-Z]+(?:[ /][a-zA-Z]+)*)(?:\^(\d))?$")
_TRIGONOMETRIC = re.compile(r"\\(?:sin|cos|tan|cot|sec|csc)")


@dataclass(frozen=True, slots=True)
class Measured:
    """An answer taken apart.

    Attributes:
        body: The answer without its unit.
        unit: Canonical unit, ``""`` if there is none; ``"%"`` for percent.
    """

    body: str
    unit: str


@lru_cache(maxsize=8192)
def split_unit(text: str) -> Measured:
    """Takes the unit off a normalised answer; text without one comes back whole.

    Args:
        text: A single value as ``normalise`` returns it.
    """
    if match := _CURRENCY.match(text):
        inner = split_unit(match.group(1) + match.group(3))
        currency = _CURRENCIES[match.group(2)]
        return Measured(inner.body, currency) if inner.unit in ("", currency) else Measured(text, "")
    if match := _PERCENT.match(text):
        return Measured(match.group(1), "%")
    if match := _TEMPERATURE.match(text):
        return Measured(match.group(1), f"degree {match.group(2)}")
    if (match := _DEGREE.match(text)) and not _TRIGONOMETRIC.search(text):
        return Measured(match.group(1), "degree")
    if match := _WRAPPED.match(text):
        unit = _canonical_unit(match.group(2), match.group(3), shortest=1)
        return Measured(match.group(1), unit) if unit else Measured(text, "")
    if match := _BARE.match(text):
        unit = _canonical_unit(match.group(3), match.group(4), shortest=2)
        return Measured(match.group(1), unit) if unit else Measured(text, "")
    return Measured(text, "")


def units_agree(gold: str, answer: str) -> bool:
    """Whether two canonical units may stand for the same quantity.

    A missing one agrees with any; "units" and "square units" agree with any of their dimension.
    """
    if not gold or not answer or gold == answer:
        return True
    gold_name, _, gold_power = gold.partition("^")
    answer_name, _, answer_power = answer.partition("^")
    return gold_power == answer_power and "unit" in (gold_name, answer_name)


def _canonical_unit(words: str, power: str | None, shortest: int) -> str:
    """The canonical name of a phrase used as a unit, or ``""`` if it must not be read as one.

    Args:
        words: The phrase.
        power: An exponent behind it.
        shortest: Length from which an abbreviation counts: 1 inside ``\\text{}``, 2 outside, where ``6m`` is a product.
    """
    factors = [_canonical_factor(factor, shortest) for factor in _PER.split(words.strip().lower())]
    if not all(factors):
        return ""
    if power and power != "1":
        factors[-1] += f"^{power}"
    return "/".join(factors)


def _canonical_factor(words: str, shortest: int) -> str:
    tokens = [token.strip(".,'-") for token in words.split()]
    if not tokens or any(not token.isalpha() or token in _VALUE_CHANGING for token in tokens):
        return ""
    power = _POWER_WORDS.get(tokens[0])
    if power and len(tokens) > 1:
        base = _canonical_factor(" ".join(tokens[1:]), shortest)
        return f"{base}^{power}" if base else ""
    if len(tokens) == 1 and tokens[0] in _SYNONYMS:
        return _SYNONYMS[tokens[0]] if len(tokens[0]) >= shortest else ""
    # Any other noun ("apples", "red marbles") is a unit if it is long enough not to be a product of variables.
    if max(map(len, tokens)) < 4:
        return ""
    return " ".join(token.removesuffix("s") for token in tokens)
