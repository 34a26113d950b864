"""Disclosure rules: ``[release]`` of a study file, the profiles it may start from, and names of earlier versions."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import msgspec

from retrain_eval.common.errors import InputError
from retrain_eval.common.untrusted import own_bytes, parse_toml
from retrain_eval.plan.keys import check_keys

FEWEST_CERTAINTY = 0.5  # benchmarks/disclosure_design/note.md
PROFILES = Path(__file__).parent / "profiles"


class Release(msgspec.Struct, frozen=True, kw_only=True):
    """``[release]``: the disclosure rules, those of a profile unless the study file says otherwise.

    Profiles are files in ``plan/profiles``, which say where each figure comes from, or a file beside the study.
    """

    profile: str = "default"
    exact: bool = False
    min_contributors: Annotated[int, msgspec.Meta(ge=3)] = 10
    noise_smallest: Annotated[float, msgspec.Meta(ge=0, lt=1)] = 0.0
    noise_largest: Annotated[float, msgspec.Meta(ge=0, lt=1)] = 0.0
    count_variance: Annotated[float, msgspec.Meta(ge=0, le=4)] = 0.0
    count_gap: Annotated[int, msgspec.Meta(ge=0, le=4)] = 0
    within: Annotated[float, msgspec.Meta(ge=0, lt=1)] = 0.0
    certainty: Annotated[float, msgspec.Meta(ge=0, le=1)] = 1.0
    round_counts: Annotated[int, msgspec.Meta(ge=1)] = 1
    significant_figures: Annotated[int, msgspec.Meta(ge=2, le=10)] = 10
    dominance_n: Annotated[int, msgspec.Meta(ge=1, le=5)] = 2
    dominance_share: Annotated[float, msgspec.Meta(gt=0, le=1)] = 1.0
    p_percent: Annotated[float, msgspec.Meta(ge=0)] = 0.0
    winsorise: Annotated[float, msgspec.Meta(gt=0.5, le=1)] = 1.0

    @property
    def noisy(self) -> bool:
        """Whether noise is attached to people, so that a run needs the release key."""
        return self.count_variance > 0 or self.noise_largest > 0


OLDER_NAMES = {"min_cell": "min_contributors"}  # of rules in study files and bundles of earlier versions
RETIRED = {"max_leverage": "all second moments are redrawn, whatever the leverage"}  # rules that no longer do anything


def with_names_of_today(rules: Mapping[str, Any]) -> dict[str, Any]:
    """Return rules under the names that they have now, without those that no longer do anything.

    Examples
    --------
    >>> with_names_of_today({"min_cell": 5, "max_leverage": 0.5})
    {'min_contributors': 5}
    """
    return {OLDER_NAMES.get(name, name): value for name, value in rules.items() if name not in RETIRED}


def retired_rules(path: Path) -> list[str]:
    r"""Return a line for each rule that a study file, or the profile beside it, still has and that does nothing now.

    Parameters
    ----------
    path : Path
        The study file, which has been read.

    Examples
    --------
    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "study.toml"
    >>> _ = path.write_text("[release]\nmax_leverage = 0.5")
    >>> [line.removeprefix(str(path)) for line in retired_rules(path)]
    [': max_leverage no longer does anything: all second moments are redrawn, whatever the leverage; remove it']
    """
    release = parse_toml(own_bytes(path, "the study file")).get("release", {})
    found = [(path, release)]
    if (profile := str(release.get("profile", ""))).endswith(".toml"):
        own = path.parent / profile
        found.append((own, parse_toml(own_bytes(own, "the profile"))))
    return [
        f"{file}: {name} no longer does anything: {RETIRED[name]}; remove it"
        for file, rules in found
        for name in rules
        if name in RETIRED
    ]


def rename_rules(raw: dict[str, Any]) -> None:
    """Give the rules of ``[release]`` the names that they have now."""
    if isinstance(raw.get("release"), dict):
        raw["release"] = with_names_of_today(raw["release"])


def shipped_profiles() -> dict[str, Path]:
    """Return the profiles of disclosure rules that the package ships, by name."""
    return {file.stem: file for file in sorted(PROFILES.glob("*.toml"))}


def with_profile(release: Mapping[str, Any], path: Path) -> dict[str, Any]:
    """Return the rules of the profile that ``[release]`` names, and what it overrides."""
    name = str(release.get("profile", "default"))
    shipped = shipped_profiles()
    file = path.parent / name if name.endswith(".toml") else shipped.get(name)
    if file is None or not file.is_file():
        raise InputError(
            "no such profile of disclosure rules", file=path, column="profile", value=name,
            fix=f"use one of {', '.join(shipped)}, or a file beside the study such as rules.toml",
        )  # fmt: skip
    try:
        rules = parse_toml(own_bytes(file, "the profile"))
    except InputError:
        raise
    except (ValueError, RecursionError) as error:
        raise InputError("the profile is not valid TOML", file=file, rule=str(error)) from None
    rules = with_names_of_today(rules)
    check_keys(rules, Release, "release", file)
    return {**rules, **release}


def check_rules(rules: Release, path: Path) -> None:
    """Refuse rules that protect nothing without saying so, and rules that contradict each other."""
    if rules.exact == rules.noisy:
        raise InputError(
            "numbers are to be exact and noisy" if rules.exact else "nothing protects the people behind the numbers",
            file=path,
            column="release",
            rule="noise on amounts and changed counts, or exact = true for records that are public already",
            fix='start from a shipped profile: profile = "default", "public_use" or "open"',
        )
    half = rules.noisy and not (rules.count_variance > 0 and rules.noise_largest > 0)
    if half or (rules.noisy and (rules.noise_smallest < rules.within or rules.certainty < FEWEST_CERTAINTY)):
        raise InputError(
            "the rules promise more than they keep",
            file=path,
            column="release",
            value=f"noise from {rules.noise_smallest:g}, count_variance {rules.count_variance:g}, within "
            f"{rules.within:g}, certainty {rules.certainty:g}",
            rule="noise on amounts and on counts, of at least `within`; certainty of at least "
            f"{FEWEST_CERTAINTY:g}, which is what was found by attacking the design",
            fix='start from a shipped profile: profile = "default" or "public_use"',
        )
    if rules.noise_smallest > rules.noise_largest:
        raise InputError(
            "the smallest size of noise is above the largest", file=path, column="noise_smallest",
            value=f"{rules.noise_smallest:g} > {rules.noise_largest:g}",
        )  # fmt: skip
