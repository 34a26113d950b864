"""What a layout may say, as typed objects: fields of a raw file, and the records that are made of them.

Everything is declared: a key that is not here is an error, and no text of a layout is ever run as SQL.
"""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

Name = Annotated[str, msgspec.Meta(pattern=r"^[a-z][a-z0-9_]{0,39}$")]
Text = Annotated[str, msgspec.Meta(max_length=200)]
Texts = tuple[Text, ...]
DateFormat = Literal["YYYYMMDD", "YYYY-MM-DD", "MM/DD/YYYY", "DD/MM/YYYY", "DD.MM.YYYY", "DDMMMYYYY"]
NumberFormat = Literal["plain", "dollars", "fraction", "cents", "per_cent"]
Part = Literal["value", "year", "period", "day_before"]
Lines = Literal["drop", "keep"]


class _Described(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A table of a layout in which a misspelt key is an error."""


class Origin(_Described, frozen=True, kw_only=True):
    """A public document that a layout was written from."""

    title: Text
    address: Text = ""
    licence: Text = ""


class Option(_Described, frozen=True, kw_only=True):
    """A choice that a study makes: where a rule of the layout says ``"$name"``, the chosen text stands.

    Without ``choices`` it is a list of codes where the default is a list, and a number or nothing otherwise. With
    choices and an empty default, a study has to choose.
    """

    choices: Texts = ()
    default: Text | Texts
    says: Annotated[str, msgspec.Meta(max_length=400)] = ""


class Field(_Described, frozen=True, kw_only=True):
    """A field of a raw file: where it stands, and how its text is read.

    Attributes
    ----------
    names : tuple of str
        Spellings of the header over the years; case, spaces, hyphens and underscores do not count.
    element : str or tuple of str
        Number of the data element, from which headers follow by ``[file] spellings``; several for a field that is
        repeated (three trainings in one row), where an empty text is a repetition that the file does not have.
    at : (int, int), optional
        First and last position, from 1, in a file of fixed width.
    date, number, recode : optional
        How the text is read: a date in one of these formats, a number, or a code with what each stands for (an empty
        text is a missing value; a code that is not listed is refused).
    missing : tuple of str
        Texts that stand for a missing value, besides the usual ones.
    pad : int, optional
        Digits are filled up with zeros on the left to this width: spreadsheets drop them.
    digits : bool
        Hyphens and spaces are removed: 123-45-6789 is 123456789.
    decimal_comma : bool
        Numbers are written 1.234,56.
    lookup : str
        Reference table, ``NAME.csv`` next to the layout, that translates the code; a code that it lacks is missing.
    required : bool
        Whether a file without the field is refused.
    """

    names: Texts = ()
    element: Text | Texts = ""
    at: tuple[int, int] | None = None
    date: tuple[DateFormat, ...] = ()
    number: NumberFormat | None = None
    recode: dict[Text, Text] = {}
    missing: Texts = ()
    pad: Annotated[int, msgspec.Meta(ge=1, le=40)] | None = None
    digits: bool = False
    decimal_comma: bool = False
    lookup: Text = ""
    required: bool = False
    says: Annotated[str, msgspec.Meta(max_length=400)] = ""


class Column(_Described, frozen=True, kw_only=True):
    """How a column of a record follows from fields.

    Exactly one of ``field``, ``first_of`` (the first that is there), ``joined`` (all of them, with a hyphen between),
    ``quarter`` (``[year, quarter]``: the period), ``text`` (always the same) and ``each`` (a text for each repetition)
    is given. ``at_least`` asks whether the number is at least this one; a list has one for each year of the date
    ``on``, such as ``"2019:220"``. An empty text or list asks nothing, and the column is missing.
    """

    field: Name | Literal[""] = ""
    first_of: tuple[Name, ...] = ()
    joined: tuple[Name, ...] = ()
    quarter: tuple[Name, Name] | None = None
    text: Text | None = None
    each: Texts = ()
    part: Part = "value"
    otherwise: Text | None = None
    at_least: Text | Texts | None = None
    on: Name | Literal[""] = ""


class Condition(_Described, frozen=True, kw_only=True):
    """Which rows become records; others are counted as filtered. ``values`` are compared with the raw text."""

    field: Name
    values: Texts = ()
    there: bool = True


class Netting(_Described, frozen=True, kw_only=True):
    """What several lines of one key become, within a delivery and over deliveries.

    Attributes
    ----------
    amount : str
        The column of money.
    duplicates : {"drop", "keep"}
        Of lines that are equal in every column, one counts.
    several : {"add", "largest", "refuse"}
        What different positive lines of one key in one delivery become.
    corrections : {"replace", "delta"}
        Whether a later delivery states the new total of a key, or what is to be added to it. A negative line is always
        added: to the positive lines of its delivery or, where there are none, to the total delivered before.
    below_zero : {"refuse", "zero"}
        What happens to a total below zero.
    """

    amount: Name
    duplicates: Lines = "drop"
    several: Literal["add", "largest", "refuse"] = "add"
    corrections: Literal["replace", "delta"] = "replace"
    below_zero: Literal["refuse", "zero"] = "refuse"


class Splitting(_Described, frozen=True, kw_only=True):
    """How spells become periods, by day: ``amount`` is the sum over days of the daily pay.

    ``main`` are columns of which a period takes the value of its best-paid spell; ``any`` are columns of yes or no that
    hold for a period where they hold for one of its spells.
    """

    begin: Name
    end: Name
    daily: Name
    amount: Name
    period: Name = "period"
    main: tuple[Name, ...] = ()
    any: tuple[Name, ...] = ()
    duplicates: Lines = "drop"


class RecordRule(_Described, frozen=True, kw_only=True):
    """How rows of a raw file become records of one type.

    Attributes
    ----------
    columns : dict
        Column of the record → name of a field, or a `Column`.
    where : tuple of Condition
        All must hold.
    repeat : int
        Records that one row can hold: fields with several elements give one each.
    one_per : tuple of str
        Columns of which equal values are one record: that with the latest ``latest`` or, where that is equal or not
        given, that of the first line.
    known : {"update", "keep"}
        Whether a record whose key is known from an earlier delivery supersedes it, or is left out.
    people : bool
        Only rows of people of the study are taken.
    """

    columns: dict[Name, Name | Column]
    where: tuple[Condition, ...] = ()
    repeat: Annotated[int, msgspec.Meta(ge=1, le=9)] = 1
    one_per: tuple[Name, ...] = ()
    latest: Name | Literal[""] = ""
    known: Literal["update", "keep"] = "update"
    people: bool = False
    netting: Netting | None = None
    splitting: Splitting | None = None


class FileRule(_Described, frozen=True, kw_only=True):
    """``[file]``: how the raw file is written.

    ``spellings`` are headers of an element, in which ``{}`` is its number; ``unit`` is the currency or the country that
    the layout presupposes, for readers.
    """

    kind: Literal["table", "fixed_width", "either"] = "table"
    spellings: Texts = ()
    missing: Texts = ()
    quarterly: bool = False


class CrosswalkRule(_Described, frozen=True, kw_only=True):
    """``[crosswalk]``: a second file translates the values of a field, such as a participant id to an SSN."""

    field: Name
    source: Texts = ()
    target: Texts = ()
    unmatched: Literal["refuse", "filter"] = "refuse"
    pad: Annotated[int, msgspec.Meta(ge=1, le=40)] | None = None
    digits: bool = False


class Layout(_Described, frozen=True, kw_only=True):
    """A whole layout file."""

    name: Annotated[str, msgspec.Meta(pattern=r"^[a-z][a-z0-9_-]{0,39}$")]
    title: Text
    description: Annotated[str, msgspec.Meta(max_length=4000)] = ""
    origins: tuple[Origin, ...]
    options: dict[Name, Option] = {}
    file: FileRule = FileRule()
    fields: dict[Name, Field]
    crosswalk: CrosswalkRule | None = None
    records: dict[Name, RecordRule]
