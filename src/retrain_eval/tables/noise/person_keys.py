r"""Keys of people: one HMAC-SHA256 of the identifier per person, from which everything random about them is read.

The release key is the agency's secret. The 256 bits of a person's HMAC are cut into the *record key* (64 bits), whose
sums over sets of people are cell keys; the *factor* δ = 1 ± d that multiplies the person's amounts; and the *element*
(31 bits) that stands for the person in sketches of sets. They are derived anew in each run and never stored.
"""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass, field

import duckdb

from retrain_eval.common.errors import InputError
from retrain_eval.common.sources import query, require_columns, sql_name
from retrain_eval.common.sql import scratch

PERSON_KEY = "person_key"  # the column of a source that holds a person's keys
MIN_BYTES = 16
PRIME = 2**31 - 1  # elements of sketches are numbers modulo this prime
_BLOCK = 64  # bytes of a block of SHA-256 (FIPS 198-1, section 4)


@dataclass(frozen=True)
class ReleaseKey:
    """The agency's secret for releases, and the sizes of noise that it is used with.

    Parameters
    ----------
    secret : bytes
        At least 16 bytes.
    smallest, largest : float
        The noise multiplies an amount by 1 ± d, where d lies between them; its density falls linearly, as the ramp of
        Abowd, Stephens and Vilhuber (2006, Census TP-2006-02, section 5.1). Both 0: no noise.

    Raises
    ------
    InputError
        If the secret is too short, or the sizes are not 0 ≤ smallest ≤ largest < 1.

    Examples
    --------
    >>> ReleaseKey(b"thirty-two bytes that nobody saw").fingerprint()[:8]
    '6b37a51b'
    """

    secret: bytes = field(repr=False)
    smallest: float = 0.05
    largest: float = 0.15

    def __post_init__(self) -> None:
        if len(self.secret) < MIN_BYTES:
            raise InputError(
                f"the release key has {len(self.secret)} bytes",
                rule=f"at least {MIN_BYTES}",
                fix='make one: python3 -c "import secrets; print(secrets.token_hex(32))"',
            )
        if not 0 <= self.smallest <= self.largest < 1:
            raise InputError(
                "sizes of noise are out of order",
                value=f"{self.smallest} and {self.largest}",
                rule="0 ≤ smallest ≤ largest < 1",
            )

    def fingerprint(self) -> str:
        """Return what tells keys apart without telling the key: an HMAC of a fixed text, as hexadecimal digits."""
        return hmac.new(self.secret, b"retrain_eval release key", hashlib.sha256).hexdigest()

    def sql(self, person: str) -> str:
        """Return SQL of a person's keys: a STRUCT of ``record`` (UBIGINT), ``factor`` (DOUBLE), ``element`` (INTEGER).

        The key's two padded blocks are the parameters ``$inner`` and ``$outer`` of `parameters`.

        Parameters
        ----------
        person : str
            SQL of the identifier as delivered.
        """
        inner = f"sha256(from_hex($inner) || encode(CAST({person} AS VARCHAR)))"
        code = f"sha256(from_hex($outer) || from_hex({inner}))"
        part = "CAST('0x' || substr({0}, {1}, {2}) AS UBIGINT)"
        sign = f"CASE WHEN {part.format('code', 17, 1)} < 8 THEN -1 ELSE 1 END"
        uniform = f"(({part.format('code', 18, 13)} + 0.5) / {2.0**52!r})"
        size = f"{self.largest!r} - {self.largest - self.smallest!r} * sqrt(1 - {uniform})"
        element = f"CAST(1 + {part.format('code', 33, 15)} % {PRIME - 1} AS INTEGER)"
        record = part.format("code", 1, 16)
        keys = f"{{'record': {record}, 'factor': 1 + {sign} * ({size}), 'element': {element}}}"
        return f"(SELECT {keys} FROM (SELECT {code} AS code))"

    def parameters(self) -> dict[str, str]:
        """Return ``$inner`` and ``$outer``: the key, padded to a block, XOR 0x36 and XOR 0x5c (FIPS 198-1)."""
        secret = self.secret if len(self.secret) <= _BLOCK else hashlib.sha256(self.secret).digest()
        block = secret.ljust(_BLOCK, b"\0")
        return {name: bytes(b ^ pad for b in block).hex() for name, pad in (("inner", 0x36), ("outer", 0x5C))}


def with_keys(
    con: duckdb.DuckDBPyConnection, relation: duckdb.DuckDBPyRelation, person: str, key: ReleaseKey
) -> duckdb.DuckDBPyRelation:
    """Return a relation with the keys of the person of each row, in a column ``person_key``.

    Parameters
    ----------
    con : DuckDBPyConnection
        The connection of the relation, on which a temporary table of one row per person is made.
    relation : DuckDBPyRelation
    person : str
        Column of the identifier as delivered.
    key : ReleaseKey

    Raises
    ------
    InputError
        If the relation has no such column, or one of the name ``person_key`` already; if a row names no person.

    Examples
    --------
    >>> con = duckdb.connect()
    >>> rows = con.sql("SELECT * FROM (VALUES ('a', 1), ('a', 2), ('b', 1)) AS t(who, quarter)")
    >>> keyed = with_keys(con, rows, "who", ReleaseKey(b"thirty-two bytes that nobody saw"))
    >>> keyed.aggregate("count(DISTINCT person_key.record) AS people").fetchall()
    [(2,)]
    """
    if PERSON_KEY in relation.columns:
        raise InputError("the rows have keys already", column=PERSON_KEY, fix="give keys to a relation once")
    require_columns(relation, [person])
    name = sql_name(person)
    [(nobody,)] = query(relation, f"SELECT count(*) FROM source WHERE {name} IS NULL").fetchall()
    if nobody:
        raise InputError(f"{nobody} row(s) name no person", column=person, rule="noise is attached to people")
    with scratch(con) as tables:
        people, table = tables.name("people"), tables.name("person_keys")
        query(relation, f"CREATE TEMP TABLE {people} AS SELECT DISTINCT {name} AS person FROM source")
        made = f"CREATE TEMP TABLE {table} AS SELECT person, {key.sql('person')} AS {PERSON_KEY} FROM {people}"
        con.execute(made, key.parameters())
        tables.keep(table)
    joined = f"SELECT source.*, keys.{PERSON_KEY} FROM source JOIN {table} AS keys ON source.{name} = keys.person"
    return query(relation, joined)


def has_keys(relation: duckdb.DuckDBPyRelation) -> bool:
    """Return whether the rows have the keys of their people, so that sums over them can be protected.

    Raises
    ------
    InputError
        If there is a column ``person_key`` that holds something else.
    """
    if PERSON_KEY not in relation.columns:
        return False
    kind = relation.types[relation.columns.index(PERSON_KEY)]
    names = [name for name, _ in kind.children] if kind.id == "struct" else []
    if names != ["record", "factor", "element"]:
        raise InputError(
            "the column holds no keys of people", column=PERSON_KEY, value=str(kind), fix="rename it, or use with_keys"
        )
    return True
