"""From a study folder to a report: the verbs of the command line, as methods.

``run`` loads the records and asks the questions of a study, or calls its ``run.py``; ``release`` protects the results
and writes an edition; ``report`` builds the book from editions. Each does nothing where nothing has changed.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import ModuleType
from typing import Any

import duckdb
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from retrain_eval.common.disk import OF_THE_MACHINE, disk_errors, reason
from retrain_eval.common.errors import DesignError, DisclosureError, InputError, ReleaseError, StoreError
from retrain_eval.common.files import check_writable, private_folder
from retrain_eval.common.locks import locked
from retrain_eval.common.resources import resource
from retrain_eval.common.text.file_names import check_plain_name
from retrain_eval.plan.registered import PLAN, Registration, register
from retrain_eval.plan.stamp import stamp_of
from retrain_eval.plan.study_file import FILE, StudyFile, read_study
from retrain_eval.records.files import all_deliveries, record_files, write_missing
from retrain_eval.records.layouts.sources import record_types
from retrain_eval.records.loading.progress import Watch, unwatched
from retrain_eval.records.schema.dictionary import Package, dictionary, load_package
from retrain_eval.records.store import Store
from retrain_eval.release import provenance, signing, writing
from retrain_eval.release.bundle import Bundle
from retrain_eval.release.editions import kept_sets, officer
from retrain_eval.release.editions.editions import approval, edition_names, edition_path, origin
from retrain_eval.release.editions.withdrawing import take_back
from retrain_eval.release.results import Results
from retrain_eval.release.verification.within import check_edition
from retrain_eval.report.building import book, pdf
from retrain_eval.study.publishing import Say
from retrain_eval.study.release_key import older_rules, release_key
from retrain_eval.study.run import Run
from retrain_eval.study.script import SCRIPT, analysis_of, load_script, script_sha256


@dataclass(frozen=True)
class Study:
    """A study folder: ``study.toml``, ``run.py`` and, once run, its store, releases and report.

    Examples
    --------
    >>> Study.open("no/such/study")
    Traceback (most recent call last):
    ...
    retrain_eval.common.errors.InputError: no study folder at no/such/study
      fix:    start one with: retrain-eval init no/such/study
    """

    folder: Path
    file: StudyFile

    @classmethod
    def open(cls, folder: str | Path) -> Study:
        """Read and check the study file of a folder."""
        folder = Path(folder)
        if not folder.is_dir():
            raise InputError(f"no study folder at {folder}", fix=f"start one with: retrain-eval init {folder}")
        return cls(folder, read_study(folder))

    @cached_property
    def package(self) -> Package:
        """The record types: the shared ones, and those that the study's own ``data_schemas`` adds."""
        own = self.folder / "data_schemas"
        return load_package(resource("data_schemas"), *([own] if own.is_dir() else []))

    @cached_property
    def record_types(self) -> tuple[str, ...]:
        """The record types that the study names, and those that its layouts make."""
        return tuple(dict.fromkeys((*self.file.records, *record_types(self.folder, self.file.sources))))

    @property
    def store_path(self) -> Path:
        """Where the store lies."""
        return self.folder / "store" / "study.duckdb"

    @property
    def refusals_path(self) -> Path:
        """Where the refused rows of the last load, or of its rehearsal, are listed."""
        return self.folder / "store" / "refusals.csv"

    def ingest(self, say: Say = lambda _: None, *, dry_run: bool = False, watch: Watch = unwatched) -> Store:
        """Open the store with every record file of the study loaded; the caller closes it.

        With ``dry_run`` everything is checked and said, and nothing is written but ``store/refusals.csv``: every
        refused row, with its file, line, column, value and the rule that it breaks. A load writes that file too.

        Raises
        ------
        InputError
            If a file is missing, or has rows that break a rule; the store stays as it was.
        """
        if dry_run:
            return self._rehearse(say, watch)
        write_missing(self.folder, self.file.records, self._script, say)
        store = self._open(say)
        try:
            before = store.vintage
            with all_deliveries(self.folder, self.file, self.package) as files:
                for report in store.ingest_all(files, **self._loading(watch), announce=say):
                    say(str(report))
            if store.vintage > before:
                say(f"vintage {store.vintage} is complete")
            for line in store.incomplete():
                say(line)
        except BaseException:
            store.close()
            raise
        return store

    def run(
        self, *, as_of: int | None = None, force: bool = False, say: Say = lambda _: None, watch: Watch = unwatched
    ) -> Results:
        """Load the records, ask the questions of the study file or call ``analyse`` of ``run.py``, and keep results.

        Nothing is done where the study file, the script, the records and this package are as they were.

        Parameters
        ----------
        as_of : int, optional
            Use the records as they stood at this vintage of the store, and load nothing.
        force : bool
            Do it though nothing has changed.
        say : callable
            Given one line of text at each stage.
        watch : callable
            Given how far the load has come; see `Store.ingest_all`.

        Raises
        ------
        InputError
            As `ingest`, if nothing is asked (the study file has no question, and ``run.py`` no ``analyse``), or if
            the study's profile has another meaning now.
        StoreError
            If the store or its disk gives out; the last results stand.
        ReleaseError
            If a result that ``[plan] required`` names is withheld, or was not published. All results are kept.
        """
        with self.ingest(say, watch=watch) if as_of is None else self._open(say, as_of=as_of) as store:
            as_then = [] if as_of is None else [f"records as of vintage {as_of}", *store.incomplete()]
            for line in (*older_rules(self.folder, self.file.release), *as_then):
                say(line)
            analyse = analysis_of(self._script, self.file)
            secret = release_key(self.store_path.parent, self.file.release, store, say)
            key = provenance.run_key(self.file, script_sha256(self.folder), store, self.package)
            key["release_key"] = "" if secret is None else secret.fingerprint()
            if not force and (results := provenance.last_run(self._results, key)[2]) is not None:
                say("nothing has changed since the last run")
                self._require(results)
                return results
            inputs = provenance.inputs_of(store)
            run = Run(self.file, store, say, secret)
            try:
                analyse(run)
            except (DesignError, DisclosureError) as error:
                run.stop(error)
            except (*OF_THE_MACHINE, duckdb.TransactionException) as error:
                why = reason(error, self.store_path)
                raise StoreError(f"the run stopped; the last results are kept: {why}") from error
            run.results.tables["dictionary"] = dictionary(self.package).pipe(
                lambda frame: frame[frame["resource"].isin(self.record_types)].reset_index(drop=True)
            )
        for table in run.results.kept().values():
            table.mark(stamp_of(self.file))
        provenance.write_run(self._results, run.results, key, inputs)
        self._require(run.results)
        return run.results

    def plan(self, *, reason: str = "") -> tuple[Registration, bool]:
        """Register the study file as the plan; see `retrain_eval.plan.registered.register`.

        Parameters
        ----------
        reason : str
            Why the plan is amended, where one is registered that differs.
        """
        with locked(self.folder / PLAN):
            opened = [str(item["sha256"]) for item in provenance.last_run(self._results, {})[1]]
            made, new = register(self.folder, self.file, script_sha256(self.folder), opened=opened, reason=reason)
            if new and opened:
                provenance.keep_opened(self.store_path.parent, made, opened)
        return made, new

    def release(
        self,
        edition: str,
        *,
        approved_by: str = "",
        corrects: str | None = None,
        reason: str = "",
        replace: bool = False,
        sign: Ed25519PrivateKey | None = None,
        say: Say = lambda _: None,
    ) -> Bundle:
        """Protect the last run's results and write them as an edition under ``release/``.

        Parameters
        ----------
        edition : str
            Name of the edition, such as the year.
        approved_by : str
            Who approved it for publication. An approved edition never changes; without a name it is a draft.
        corrects : str, optional
            The approved edition that this one corrects.
        reason : str
            What was wrong with that.
        replace : bool
            Overwrite a draft that differs.
        sign : Ed25519PrivateKey, optional
            Sign the edition with this key (`retrain_eval.release.signing`); an existing edition is signed again.
        say : callable
            Given one line of text at each stage.

        Raises
        ------
        ReleaseError
            If there is no run, the run is out of date, or the edition exists, differs and is not to be overwritten.
        """
        check_plain_name(edition, "an edition")
        was, inputs, results = provenance.last_run(self._results)
        if results is None:
            raise ReleaseError(f"{self.folder} has not been run: retrain-eval run {self.folder}")
        for name, key, now in ((FILE, "study", self.file.sha256()), (SCRIPT, "script", script_sha256(self.folder))):
            if was[key] != now:
                raise ReleaseError(f"{name} has changed since the last run: retrain-eval run {self.folder}")
        releases, store = self.folder / "release", self.store_path.parent
        with locked(releases, say=say):  # editions are compared with each other: one is made at a time
            standing = approval(releases, edition, approved_by=approved_by, corrects=corrects, reason=reason)
            noisy, fingerprint = self.file.release.noisy, str(was.get("release_key", ""))
            earlier = kept_sets.earlier_sets(store, releases, edition, fingerprint) if noisy else []
            bundle = writing.write(
                results,
                self.folder,
                self.file,
                releases / edition,
                inputs=inputs,
                standing={**standing, "script_sha256": was["script"]},
                opened=provenance.opened_of(store),
                replace=replace,
                earlier=earlier,
                published=kept_sets.earlier_counts(store, edition) if noisy else {},
                keep=lambda safe: (
                    kept_sets.keep_sets(store, edition, safe.sets, fingerprint, safe.published) if noisy else None
                ),
                say=say,
            )
            kept_sets.settle(store, edition)
            provenance.keep_edition(store, bundle, inputs)
            page = officer.keep_review(store, results, bundle, by=bundle.approved_by)
            if sign is not None:
                say(f"signed with the key {signing.sign(bundle.path, sign)}")
        for line in bundle.manifest["protection"]:
            say(line)
        say(f"for the disclosure officer, inside the agency only: {page}")
        return bundle

    def take_back(self, edition: str, *, by: str, reason: str, published: bool = False) -> Path | None:
        """Return a draft, or withdraw a published edition; see `~retrain_eval.release.editions.withdrawing`."""
        path, store = self.folder / "release" / edition, self.store_path.parent
        return take_back(path, store, by=by, reason=reason, published=published)

    def report(
        self,
        edition: str | None = None,
        *,
        language: str | None = None,
        force: bool = False,
        say: Say = lambda _: None,
    ) -> Path:
        """Build the book of an edition (default: the latest) with the companions' editions of the same name.

        ``language`` is ``"en"`` or ``"zh"``; the study file's, by default. A report in another language than that has
        a folder of its own. Every edition is verified first; if one differs from what was released, nothing is built.

        Raises
        ------
        ReleaseError
            If an edition does not exist, or is not as it was released.
        """
        main = edition_path(self.folder, edition)
        companions = [Study.open(self.folder / name)._edition_beside(main) for name in self.file.report.companions]
        output = self._report(main.name, language)
        if force or not output.exists():
            check_writable(output.parent)
        before = [main.parent / name for name in edition_names(main.parent) if name < main.name]
        speech = language or self.file.report.language
        verified = [check_edition(path) for path in (main, *companions, *before)]
        return book.build(
            [main, *companions], output, earlier=before, speech=speech, progress=say, force=force, verified=verified
        )

    def pdf(
        self,
        edition: str | None = None,
        *,
        language: str | None = None,
        force: bool = False,
        say: Say = lambda _: None,
    ) -> Path | None:
        """Print the report of an edition (default: the latest) where a browser is found that can; else say so.

        Raises
        ------
        ReportError
            If there is no report of the edition, or the browser does not print it.
        """
        report = self._report(edition_path(self.folder, edition).name, language)
        printed = report / pdf.TARGET
        if printed.exists() and not force:
            say("the PDF is up to date")
            return printed
        browser = pdf.find_browser()
        if browser is None:
            say(f"no PDF, for no Chromium, Chrome or Edge was found: print {report / pdf.SOURCE} from any browser")
            return None
        return pdf.print_pdf(report, browser)

    def bundle(self, edition: str | None = None) -> Bundle:
        """Open an edition (default: the latest)."""
        return Bundle.open(edition_path(self.folder, edition))

    # ---- inside ----------------------------------------------------------------------------------------------

    def _report(self, edition: str, language: str | None) -> Path:
        own = language in (None, self.file.report.language)
        return self.folder / "report" / (edition if own else f"{edition}-{language}")

    def _require(self, results: Results) -> None:
        """Refuse a run that lacks a result without which the plan has no edition; what was found is kept."""
        if lines := results.lacking(self.file.plan.required):
            raise ReleaseError(
                "a result that [plan] requires is missing; the others are kept:\n  " + "\n  ".join(lines)
            )

    @property
    def _results(self) -> Path:
        return self.folder / "store" / "results"

    @cached_property
    def _script(self) -> ModuleType | None:
        return load_script(self.folder, self.file)

    def _open(self, say: Say, **options: Any) -> Store:
        """Open the study's store, readable only by its owner, as the study file says."""
        if "as_of" not in options or self.store_path.exists():
            with disk_errors(self.store_path.parent):
                if line := private_folder(self.store_path.parent):
                    say(line)
        about = self.file.study
        settings: dict[str, Any] = {
            "frequency": about.frequency,
            "identifiers": self.file.ingest.identifiers,
            "only": self.record_types,  # what an earlier plan named is not there for this one
            **({"create": False} if "as_of" in options else {}),
        }
        return Store.open(self.store_path, package=self.package, **settings, **options)

    def _loading(self, watch: Watch) -> dict[str, Any]:
        """Return the options of every load of this study."""
        return {"tolerate": self.file.ingest.tolerate, "refusals": self.refusals_path, "watch": watch}

    def _rehearse(self, say: Say, watch: Watch) -> Store:
        """Check every file against the store, or an empty one where there is none; write only what was refused."""
        files_of = record_files(self.folder, self.file.records).values()
        missing = [file for files in files_of for file in files if not file.exists()]
        if missing and hasattr(self._script, "prepare"):
            raise InputError(
                "the record files are not there yet", file=missing[0], fix="run the study once: its run.py writes them"
            )
        if self.store_path.exists():
            store = self._open(say, read_only=True)
        else:
            store = Store.in_memory(self.package, self.file.study.frequency, self.file.ingest.identifiers)
        try:
            with all_deliveries(self.folder, self.file, self.package) as files:
                for report in store.ingest_all(files, **self._loading(watch), dry_run=True, announce=say):
                    say(str(report))
        except BaseException:
            store.close()
            raise
        return store

    def _edition_beside(self, main: Path) -> Path:
        """Return the edition to print beside another study's: of the same name, or of the name that it corrects."""
        have = edition_names(self.folder / "release")
        found = next((name for name in origin(main.parent, main.name) if name in have), main.name)
        return edition_path(self.folder, found)
