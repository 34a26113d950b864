"""What questions and designs need of the records, and of the study file."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from retrain_eval.plan.study_file import StudyFile


@dataclass(frozen=True)
class Needs:
    """What a question needs of the records and of the study file.

    Attributes
    ----------
    records : mapping of str → tuple of str
        Record type → columns that have a value for someone.
    sections : tuple of str
        Sections of the study file, such as ``did``.
    kinds : tuple of str
        Kinds of design in which it can be asked; empty for all.
    also : mapping of str → str
        Some of its results → columns that these need besides, as ``record.column``, with "or" between those of which
        one is enough.
    """

    records: Mapping[str, tuple[str, ...]]
    sections: tuple[str, ...] = ()
    kinds: tuple[str, ...] = ()
    also: Mapping[str, str] = field(default_factory=dict)

    def sections_missing(self, study: StudyFile) -> list[str]:
        """Return the sections that the study file does not have."""
        return [name for name in self.sections if getattr(study, name) is None]

    def missing(self, have: Mapping[str, Collection[str]], study: StudyFile, kind: str = "") -> list[str]:
        """Return what is missing, as texts; empty if the question can be asked.

        Parameters
        ----------
        have : mapping of str → collection of str
            Record type → the columns that have values.
        study : StudyFile
        kind : str
            The kind of the design in which it is asked; empty if that is open.

        Examples
        --------
        >>> from retrain_eval.plan.study_file import About
        >>> study = StudyFile(study=About(name="s", title="T", question="Q", data="D"), records={"person": "p.csv"})
        >>> Needs({"enrolment": ("entry",), "person": ("birth_year",)}, ("did",)).missing({"person": ["sex"]}, study)
        ['records of enrolment', 'person.birth_year', 'the section [did] of the study file']
        """
        if self.kinds and kind and kind not in self.kinds:
            return [f"a design of the kind {' or '.join(self.kinds)}"]
        lacking = []
        for name, columns in self.records.items():
            if name not in have:
                lacking.append(f"records of {name}")
            else:
                lacking += [f"{name}.{column}" for column in columns if column not in have[name]]
        lacking += [f"the section [{name}] of the study file" for name in self.sections_missing(study)]
        return lacking

    def parts_missing(self, have: Mapping[str, Collection[str]]) -> dict[str, str]:
        """Return those of its results that cannot be had, with the columns that they need besides.

        Parameters
        ----------
        have : mapping of str → collection of str
            Record type → the columns that have values.

        Examples
        --------
        >>> needs = Needs({"enrolment": ("entry",)}, also={"payback": "cost.amount", "by programme": "programme.tier"})
        >>> needs.parts_missing({"enrolment": ["entry"], "programme": ["tier"]})
        {'payback': 'cost.amount'}
        """
        there = {f"{record}.{column}" for record, columns in have.items() for column in columns}
        return {part: columns for part, columns in self.also.items() if not there & set(columns.split(" or "))}
