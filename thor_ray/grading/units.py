r"""Units behind an answer: ``864 \mbox{ inches}^2``, ``\$18.90``, ``75^\circ``, ``12\%``, ``5 apples``, ``10 \text{ m/s}``.

A unit on one side alone is decoration: the question has fixed it. Units on both sides must agree, their exponents
included. Words that change the value (``million``, ``or more``, ``squared``) are never units.
"""

import re
from collections import Counter
from dataclasses import dataclass
from functools import lru_cache

_SYNONYMS: dict[str, str] = {
    synonym: unit
    for unit, synonyms in {
        "degree": "degree degrees deg", "radian": "radian radians rad", "dollar": "dollar dollars usd buck bucks",
        "cent": "cent cents", "euro": "euro euros eur", "pound": "pound pounds lb lbs", "ounce": "ounce ounces oz",
        "rupee": "rupee rupees rs", "meter": "meter meters metre metres m",
        "centimeter": "centimeter centimeters centimetre centimetres cm cms",
        "millimeter": "millimeter millimeters millimetre millimetres mm", "nanometer": "nanometer nanometers nm",
        "kilometer": "kilometer kilometers kilometre kilometres km kms", "mile": "mile miles mi", "foot": "foot feet ft",
        "inch": "inch inches in", "yard": "yard yards yd yds", "liter": "liter liters litre litres l",
        "milliliter": "milliliter milliliters ml", "gallon": "gallon gallons gal", "gram": "gram grams g gm",
        "kilogram": "kilogram kilograms kg kgs", "milligram": "milligram milligrams mg", "ton": "ton tons tonne tonnes",
        "second": "second seconds sec secs s", "minute": "minute minutes min mins", "hour": "hour hours hr hrs h",
        "day": "day days", "week": "week weeks wk", "month": "month months", "year": "year years yr yrs",
        "newton": "newton newtons n", "joule": "joule joules j", "watt": "watt watts w", "volt": "volt volts v",
        "kelvin": "kelvin kelvins k", "hertz": "hertz hz", "electronvolt": "ev", "unit": "unit units", "mole": "mole moles mol",
        "ampere": "ampere amperes amp amps a", "coulomb": "coulomb coulombs c", "pascal": "pascal pascals pa", "tesla": "tesla t",
        "erg": "erg ergs", "dyne": "dyne dynes", "acre": "acre acres", "hectare": "hectare hectares", "am": "am", "pm": "pm",
    }.items()
    for synonym in synonyms.split()
}  # fmt: skip
_COMPOUNDS = {
    "mph": "mile/hour",
    "kmh": "kilometer/hour",
    "kph": "kilometer/hour",
    "fps": "foot/second",
    "rpm": "revolution/minute",
}

_VALUE_CHANGING = frozenset(
    """and or not to no none all any at most least more less than about approximately approx nearly only between through
    dozen dozens hundred hundreds thousand thousands million millions billion billions trillion trillions percent percentage
    half halves third thirds quarter quarters fourth fifth sixth seventh eighth ninth tenth tenths hundredth hundredths
    one two three four five six seven eight nine ten eleven twelve zero twenty thirty forty fifty sixty seventy eighty ninety
    squared cubed times plus minus over divided multiplied factorial choose mod modulo remainder root sqrt sine cosine
    tangent sin cos tan log ln exp inf infinity infinite undefined base double twice triple negative positive except where for if
    is are was were be not without unless excluding including greater smaller larger bigger fewer above below under
    wrong incorrect false impossible perhaps possibly probably when every mixed others other else either neither nor but maybe otherwise""".split()
)
_SCALES = {
    "dozen": 12, "hundred": 100, "thousand": 10**3, "million": 10**6, "billion": 10**9, "trillion": 10**12,
}  # fmt: skip
_DIMENSIONS = {"square": 2, "sq": 2, "cubic": 3, "cu": 3}
_POWER_WORDS = {"squared": 2, "cubed": 3}
_CURRENCIES = {"\\dollar": "dollar", "€": "euro", "£": "pound", "¥": "yen", "₹": "rupee"}

_CURRENCY = re.compile(r"^([+-]?)\s*(\\dollar|[€£¥₹])\s*(.+)$")
_CURRENCY_BEHIND = re.compile(r"^(.*\S)\s*(\\dollar|[€£¥₹])$")
_PERCENT = re.compile(r"^(.*\S)\s*(?:%|\\text\{\s*(?:percent(?:age)?|pct|%)\s*\}|\b(?:percent(?:age)?|pct))$")
_TEMPERATURE = re.compile(r"^(.*\S)\s*\^\\circ\s*(?:\\text\{\s*)?([CFK])\s*\}?$")
_DEGREE = re.compile(r"^(.*\S)\s*\^\\circ$")
_EXPONENT = r"(?:\s*\^\s*(?:\{\s*-?\d\s*\}|-?\d))?"
_FACTOR = r"\\text\{[^{}]*\}" + _EXPONENT
# What separates two factors begins where an exponent cannot go on, so that there is one way only to match.
_TAIL = re.compile(rf"^(.*?\S)\s*({_FACTOR}(?:\s*(?:(?:/|\\cdot)\s*)?{_FACTOR})*)$")
_ONE_FACTOR = re.compile(r"(/|\\cdot)?\s*\\text\{([^{}]*)\}(?:\s*\^\s*\{?\s*(-?\d))?")
_ABBREVIATION = re.compile(r"^([a-z]+)(?:\^(-?\d))?$")
_BARE = re.compile(r"^(.*(?:[\d})]|\\pi(?= )))(\s*)(?<![a-zA-Z\\])([a-zA-Z]+(?:[ /][a-zA-Z]+)*)(?:\^(\d))?$")
_SCALE_BEHIND = re.compile(rf"^(.*[\d}})])\s*(?:\\text\{{\s*)?({'|'.join(_SCALES)})\s*(?:\}}|$|(?= \w))(.*)$")
_TRIGONOMETRIC = re.compile(r"\\(?:sin|cos|tan|cot|sec|csc)")


@dataclass(frozen=True, slots=True)
class Measured:
    """An answer taken apart.

    Attributes:
        body: The answer without its unit.
        unit: Canonical unit, ``""`` if there is none; ``"%"`` for percent.
        scale: What the body is to be multiplied with: a million for ``5 \\text{ million}``.
    """

    body: str
    unit: str
    scale: int = 1


@lru_cache(maxsize=8192)
def split_unit(text: str) -> Measured:
    """Takes the unit off a normalised answer; text without one comes back whole.

    Args:
        text: A single value as ``normalise`` returns it.
    """
    if match := _CURRENCY.match(text):
        return _with_currency(text, match.group(1) + match.group(3), match.group(2))
    if match := _CURRENCY_BEHIND.match(text):
        return _with_currency(text, match.group(1), match.group(2))
    if match := _PERCENT.match(text):
        return Measured(match.group(1), "%")
    if match := _TEMPERATURE.match(text):
        return Measured(match.group(1), f"degree {match.group(2)}")
    if (match := _DEGREE.match(text)) and not _TRIGONOMETRIC.search(text):
        return Measured(match.group(1), "degree")
    if match := _SCALE_BEHIND.match(text):
        rest = match.group(3)
        unclosed = "\\text{" if rest.endswith("}") and "{" not in rest else ""
        body = f"{match.group(1)} {unclosed}{rest}".strip()
        inner = Measured(body, "") if _SCALE_BEHIND.match(body) else split_unit(body)
        return Measured(inner.body, inner.unit, inner.scale * _SCALES[match.group(2)])
    unit, body = "", text
    if match := _TAIL.match(text):
        body, unit = match.group(1), _canonical(_ONE_FACTOR.findall(match.group(2)), shortest=1)
    elif match := _BARE.match(text):
        body, unit = match.group(1), _canonical([("", match.group(3), match.group(4) or "")], shortest=2)
    return Measured(body, unit) if unit else Measured(text, "")


def units_agree(gold: str, answer: str) -> bool:
    """Whether two canonical units may stand for the same quantity.

    A missing one agrees with any; "units" and "square units" agree with any of their dimension.
    """
    if not gold or not answer or gold == answer:
        return True
    gold_name, _, gold_power = gold.partition("^")
    answer_name, _, answer_power = answer.partition("^")
    return gold_power == answer_power and "unit" in (gold_name, answer_name)


def _with_currency(text: str, amount: str, symbol: str) -> Measured:
    if any(other in amount for other in _CURRENCIES):
        return Measured(text, "")
    inner, currency = split_unit(amount), _CURRENCIES[symbol]
    return Measured(inner.body, currency, inner.scale) if inner.unit in ("", currency) else Measured(text, "")


def _canonical(factors: list[tuple[str, str, str]], shortest: int) -> str:
    r"""The canonical name of a product of units, or ``""`` if it must not be read as one.

    Args:
        factors: Operator before it, words and exponent of each.
        shortest: Length from which an abbreviation counts: 1 inside ``\text{}``, 2 outside, where ``6m`` is a product.
    """
    powers: Counter[str] = Counter()
    for operator, words, exponent in _single_factors(factors):
        above, *below = re.split(r"\s*(?:/|\bper\b)\s*", words.strip().lower())
        signs = [1] * bool(above) + [-1] * len(below)
        for sign, part in zip(signs, [above, *below] if above else below, strict=True):
            unit = _canonical_factor(part, shortest if sign == 1 else 1)
            if not unit:
                return ""
            sign *= -1 if operator == "/" else 1
            for name, power in _powers(unit).items():
                powers[name] += sign * power * int(exponent or 1)
    return "/".join(
        "*".join(
            f"{name}^{abs(power)}" if abs(power) > 1 else name
            for name, power in sorted(powers.items())
            if (power > 0) == is_above
        )
        for is_above in ((True, False) if any(power < 0 for power in powers.values()) else (True,))
    )


def _single_factors(factors: list[tuple[str, str, str]]) -> list[tuple[str, str, str]]:
    r"""Takes products of abbreviations apart: ``\text{m s^-1}`` has two factors."""
    single = []
    for operator, words, exponent in factors:
        parts = [_ABBREVIATION.match(word) for word in words.lower().split()]
        if len(parts) > 1 and all(part and part.group(1) in _SYNONYMS for part in parts):
            single += [("", part.group(1), part.group(2) or "") for part in parts if part]
        else:
            single.append((operator, words, exponent))
    return single


def _powers(unit: str) -> dict[str, int]:
    """``foot^2`` and ``mile/hour`` taken apart."""
    powers = {}
    for index, part in enumerate(unit.split("/")):
        name, _, power = part.partition("^")
        powers[name] = int(power or 1) * (1 if index == 0 else -1)
    return powers


def _canonical_factor(words: str, shortest: int) -> str:
    power_in_text = re.search(r"\^\{?(\d)\}?$", words)
    if power_in_text:
        words = words[: power_in_text.start()]
    tokens = [token.replace(".", "").strip(",'-") for token in words.split()]
    if not tokens or any(not token.isalpha() for token in tokens):
        return ""
    power = int(power_in_text.group(1)) if power_in_text else 1
    if len(tokens) > 1 and tokens[0] in _DIMENSIONS:
        power, tokens = power * _DIMENSIONS[tokens[0]], tokens[1:]
    elif len(tokens) > 1 and tokens[-1] in _POWER_WORDS:
        power, tokens = power * _POWER_WORDS[tokens[-1]], tokens[:-1]
    if any(token in _VALUE_CHANGING for token in tokens):
        return ""
    name = _name(tokens, shortest)
    return f"{name}^{power}" if name and power != 1 else name


def _name(tokens: list[str], shortest: int) -> str:
    if len(tokens) == 1 and tokens[0] in _COMPOUNDS:
        return _COMPOUNDS[tokens[0]]
    if len(tokens) == 1 and tokens[0] in _SYNONYMS:
        return _SYNONYMS[tokens[0]] if len(tokens[0]) >= shortest else ""
    # Any other noun ("apples", "red marbles") is a unit if it is long enough not to be a product of variables.
    if max(map(len, tokens)) < (2 if shortest == 1 else 4):
        return ""
    return " ".join(token.removesuffix("s") for token in tokens)
