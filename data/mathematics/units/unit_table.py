"""The known units: the dimension of each, and its worth in the first unit of that dimension.

Units that share a dimension are converted exactly. Units without an exact conversion (a year has no exact number of
days) have dimensions of their own, and one is never right for the other.
"""

from fractions import Fraction

Dimensions = tuple[tuple[str, int], ...]

INCH = Fraction(254, 10_000)
LITER = Fraction(1, 1_000)
GALLON = 231 * INCH**3
TABLE: dict[Dimensions, dict[str, int | Fraction]] = {
    (("length", 1),): {
        "m meter metre": 1, "cm centimeter centimetre": Fraction(1, 100), "mm millimeter millimetre": Fraction(1, 1000),
        "dm decimeter decimetre": Fraction(1, 10), "km kilometer kilometre": 1000, "in inch inches": INCH,
        "ft foot feet": 12 * INCH, "yd yard": 36 * INCH, "mi mile": 63_360 * INCH, "nm nanometer": Fraction(1, 10**9),
        "um micrometer micron": Fraction(1, 10**6), "angstrom": Fraction(1, 10**10),
    },
    (("length", 2),): {
        "acre": 43_560 * (12 * INCH) ** 2, "ha hectare": 10_000, "sqft": (12 * INCH) ** 2, "sqm": 1,
    },
    (("length", 3),): {
        "L l liter litre": LITER, "ml mL milliliter millilitre": LITER / 1000, "cl cL centiliter": LITER / 100,
        "gallon gal": GALLON, "quart qt": GALLON / 4, "pint pt": GALLON / 8, "cup": GALLON / 16,
        "floz": GALLON / 128, "tablespoon tbsp": GALLON / 256, "teaspoon tsp": GALLON / 768, "cc": LITER / 1000,
        "microliter": LITER / 10**6,
    },
    (("mass", 1),): {
        "g gram": 1, "kg kilogram kilo": 1000, "mg milligram": Fraction(1, 1000), "microgram": Fraction(1, 10**6),
        "oz ounce": Fraction(28349523125, 10**9),
        "lb lbs pound": Fraction(45359237, 10**5), "ton": 2000 * Fraction(45359237, 10**5),
        "t tonne": 10**6, "stone": 14 * Fraction(45359237, 10**5),
    },
    (("time", 1),): {
        "s sec second": 1, "ms millisecond": Fraction(1, 1000), "microsecond": Fraction(1, 10**6),
        "min mins minute": 60, "h hr hour": 3600, "day": 86_400,
        "week wk": 604_800, "fortnight": 2 * 604_800,
    },
    (("month", 1),): {"month mo": 1, "year yr": 12, "decade": 120, "century centuries": 1200, "quarteryear": 3},
    (("length", 1), ("time", -1)): {"mph": 63_360 * INCH / 3600, "mps": 1, "kmh kph kmph": Fraction(1000, 3600)},
    (("length", -2),): {"mpg": 63_360 * INCH / GALLON},
    (("angle", 1),): {"degree deg": 1, "arcminute": Fraction(1, 60), "arcsecond": Fraction(1, 3600)},
    (("radian", 1),): {"radian rad": 1},
    (("Celsius", 1),): {"Celsius celsius": 1},
    (("Fahrenheit", 1),): {"Fahrenheit fahrenheit": 1},
    (("Kelvin", 1),): {"K Kelvin kelvin": 1},
    (("dollar", 1),): {"dollar buck": 1, "cent penny pennies": Fraction(1, 100)},
    **{((name, 1),): {name: 1} for name in ("USD", "AUD", "CAD", "HKD", "NZD", "SGD")},
    (("real", 1),): {"BRL": 1},
    (("euro", 1),): {"euro EUR": 1},
    (("sterling", 1),): {"GBP": 1},
    (("rupee", 1),): {"rupee INR Rs": 1, "paisa paise": Fraction(1, 100)},
    (("yen", 1),): {"yen JPY": 1},
    (("yuan", 1),): {"yuan CNY RMB renminbi": 1},
    (("peso", 1),): {"peso MXN": 1},
    (("won", 1),): {"won KRW": 1},
    (("ruble", 1),): {"ruble rouble RUB": 1},
    (("franc", 1),): {"franc CHF": 1},
    (("pence", 1),): {"pence": 1},
    (("share", 1),): {"percent pct percentage": 1},
    (("length", 1), ("mass", 1), ("time", -2)): {"N newton": 1000, "kN kilonewton": 10**6},
    (("length", 2), ("mass", 1), ("time", -2)): {
        "J joule": 1000, "kJ kilojoule": 10**6, "MJ megajoule": 10**9, "Wh": 3_600_000, "kWh": 3_600_000_000,
    },
    (("heat", 1),): {"calorie cal": 1, "kcal kilocalorie": 1000},
    (("length", 2), ("mass", 1), ("time", -3)): {"W watt": 1000, "kW kilowatt": 10**6, "MW megawatt": 10**9},
    (("length", -1), ("mass", 1), ("time", -2)): {"Pa pascal": 1000, "kPa kilopascal": 10**6},
    (("unit", 1),): {"unit": 1},
    (("atmosphere", 1),): {"atm": 1},
    (("voltage", 1),): {"V volt": 1, "mV millivolt": Fraction(1, 1000)},
    (("current", 1),): {"A amp ampere": 1, "mA milliamp": Fraction(1, 1000)},
    (("resistance", 1),): {"ohm": 1, "kiloohm": 1000, "megaohm": 10**6},
    (("charge", 1),): {"C coulomb": 1},
    (("inductance", 1),): {"H henry": 1},
    (("field", 1),): {"T tesla": 1},
    (("capacity", 1),): {"F farad": 1},
    (("electronvolt", 1),): {"eV electronvolt": 1},
    (("amount", 1),): {"mol mole": 1},
    (("frequency", 1),): {"Hz hertz": 1, "kHz kilohertz": 1000, "MHz megahertz": 10**6},
    (("data", 1),): {"bit": 1, "byte": 8, "kB KB kilobyte": 8000, "MB megabyte": 8 * 10**6, "GB gigabyte": 8 * 10**9},
}  # fmt: skip
UNITS: dict[str, tuple[Dimensions, Fraction]] = {
    name: (dimensions, Fraction(worth))
    for dimensions, names in TABLE.items()
    for key, worth in names.items()
    for name in key.split()
}
PREFIXES = {"$": "dollar", "€": "euro", "£": "GBP", "₹": "INR", "¥": "yen"}
CODES = {"USD": "USD", "US": "USD", "AUD": "AUD", "CAD": "CAD", "EUR": "euro", "GBP": "GBP"}
CODES |= {"INR": "INR", "Rs": "INR", "JPY": "yen"}
# What stands before a dollar sign, and says of which country.
COUNTRIES = {
    "A": "AUD", "AU": "AUD", "C": "CAD", "CA": "CAD", "HK": "HKD", "NZ": "NZD", "S": "SGD", "SG": "SGD", "R": "BRL",
}  # fmt: skip
SUFFIXES = PREFIXES | {"%": "percent", r"^\circ": "degree", '"': "inch", "''": "inch", "¢": "cent"}


WRAPPED_ALONE = {"t", "T", "H", "F"}  # units only in \\text{...}; outside of it they are variables
SMALL = {"p": ("pico", -12), "n": ("nano", -9), "m": ("milli", -3)}
LARGE = {"k": ("kilo", 3), "M": ("mega", 6), "G": ("giga", 9)}
SYMBOLS = {
    "N": "newton", "J": "joule", "W": "watt", "Pa": "pascal", "V": "volt", "A": "ampere", "Hz": "hertz",
    "eV": "electronvolt", "C": "coulomb", "F": "farad", "T": "tesla", "H": "henry", "mol": "mole",
}  # fmt: skip
for symbol, unit in SYMBOLS.items():
    for sign, (prefix, power) in (SMALL if symbol in "CFTH" else SMALL | LARGE).items():
        scaled = UNITS[unit][0], UNITS[unit][1] * Fraction(10) ** power
        UNITS.setdefault(prefix + unit, scaled)
        if sign + symbol not in UNITS and sign + symbol != "pH":
            UNITS[sign + symbol] = scaled
            WRAPPED_ALONE |= {sign + symbol} if len(symbol) == 1 else set()
for unit in SYMBOLS.values():
    UNITS["micro" + unit] = UNITS[unit][0], UNITS[unit][1] / 10**6


def lookup(word: str) -> tuple[Dimensions, Fraction] | None:
    """Dimension and worth of a unit by its name, in the singular or plural; None for an unknown word."""
    for name in (word, word.removesuffix("s"), word.lower(), word.lower().removesuffix("s")):
        if name in UNITS and (len(name) > 1 or name == word) and word not in ("Mg", "Mm", "Ms"):  # not milli
            return UNITS[name]
    return None
