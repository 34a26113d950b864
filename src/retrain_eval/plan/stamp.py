"""What the numbers of a study's additive tables mean, as a stamp that two tables must share to be added."""

from __future__ import annotations

from retrain_eval.plan.study_file import StudyFile, canonical_hash


def stamp_of(study: StudyFile) -> dict[str, str]:
    """Return the facts of a study file that its tables depend on.

    Sections that define outcomes and the sample are hashes of their canonical form.

    Examples
    --------
    >>> from retrain_eval.plan.study_file import About
    >>> about = About(name="s", title="T", question="Q", data="D", currency="USD", frequency="quarter")
    >>> stamp = stamp_of(StudyFile(study=about, records={"person": "person.csv"}))
    >>> stamp["currency"], stamp["frequency"], stamp["winsorise"]
    ('USD', 'quarter', '1')
    """
    base = study.panel.base_period
    facts = {
        "unit": study.study.unit,
        "frequency": study.study.frequency,
        "currency": study.study.currency,
        "base period": "" if base is None else str(base),
        "winsorise": f"{study.release.winsorise:g}",
        "panel": canonical_hash(study.panel)[:16],
        "quality": canonical_hash(study.quality)[:16],
        "matching": "" if study.match is None else canonical_hash(study.match)[:16],
    }
    return {name: value for name, value in facts.items() if value}
