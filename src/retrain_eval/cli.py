"""The command line: parses, calls one method, prints. Each verb can be repeated; unchanged work is not redone."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import Annotated, NoReturn

import typer
from rich.console import Console

from retrain_eval.common.errors import InputError, RetrainEvalError
from retrain_eval.common.text.encoding import for_terminal, use_utf8
from retrain_eval.study.progress import Steps

app = typer.Typer(
    name="retrain-eval",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    pretty_exceptions_show_locals=False,  # they are people
    rich_markup_mode="rich",
)

Folder = Annotated[Path, typer.Argument(help="Study folder, with its study.toml.", show_default=False)]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object instead of text.")]
Force = Annotated[bool, typer.Option("--force", help="Do it again though nothing has changed.")]

_SHOWN = 5  # latest vintages in the output of ingest

out, err = Console(soft_wrap=True, highlight=False), Console(stderr=True, soft_wrap=True, highlight=False)


def _steps(title: str, *, quiet: bool) -> Steps:
    return Steps(title, err, quiet=quiet)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"retrain-eval {metadata.version('retrain-eval')}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Answer whether retraining works, for whom and for how long: from raw records to a published report."""


@app.command(epilog="Example: retrain-eval init my_study --template agency")
def init(
    folder: Annotated[Path, typer.Argument(help="Folder to make; it must not exist yet.", show_default=False)],
    template: Annotated[
        str, typer.Option(help="study: empty record files. agency: quarterly wage records, synthetic until replaced.")
    ] = "study",
    design: Annotated[
        str, typer.Option(help="waiting, entry, calendar, randomised or observed: a study of questions, no run.py.")
    ] = "",
    as_json: Json = False,
) -> None:
    """Start a study: a study.toml, a run.py if it needs one, and record files to fill or to replace."""
    from retrain_eval.study.template import new_study

    written = new_study(folder, template, design)
    first = "fill data/, read" if template == "study" else "read"
    text = f"started {folder}: {', '.join(written)}\n{first} study.toml, then: retrain-eval run {folder}"
    _done(as_json, {"folder": str(folder), "files": written}, text)


@app.command(epilog="Example: retrain-eval ingest analyses/nsw")
def ingest(
    folder: Folder,
    dry_run: Annotated[
        bool,
        typer.Option("--dry-run", help="Check and report everything; write only store/refusals.csv, the rows refused."),
    ] = False,
    as_json: Json = False,
) -> None:
    """Validate the record files of a study and load them into its store as a new vintage."""
    from retrain_eval.records.files import loaded_files
    from retrain_eval.study.folder import Study

    study = Study.open(folder)
    title = f"{'Checking' if dry_run else 'Loading'} the records of {folder}"
    with _steps(title, quiet=as_json) as say, study.ingest(say, dry_run=dry_run, watch=say.watch) as store:
        inputs, vintage, vintages = loaded_files(store), store.vintage, store.vintages()
    rows = sum(int(str(item["rows_in"])) for item in inputs)
    text = f"{rows:,} rows of {len(inputs)} record files are in {study.store_path}, vintage {vintage}"
    for one in vintages.tail(_SHOWN).itertuples():
        text += f"\n  vintage {one.vintage}, {one.time:%Y-%m-%d %H:%M} UTC: {one.rows_loaded:,} rows of {one.files}"
    if dry_run:
        text = f"nothing was loaded; the store is {f'at vintage {vintage}' if vintage else 'empty'}"
    refusals = study.refusals_path
    facts = {"inputs": inputs, "vintage": vintage, "dry_run": dry_run,
             "refusals": str(refusals) if refusals.exists() else None}  # fmt: skip
    _done(as_json, {**facts, "vintages": json.loads(vintages.to_json(orient="records", date_format="iso"))}, text)


@app.command("import", epilog="Example: retrain-eval import my_study us-ui-wages UIWAGE_2023.txt --dry-run")
def import_files(
    folder: Annotated[Path | None, typer.Argument(help="Study folder, with its study.toml.")] = None,
    layout: Annotated[str | None, typer.Argument(help="Layout: its name, or a file next to the study.")] = None,
    files: Annotated[list[Path] | None, typer.Argument(help="Raw files, in the order of their delivery.")] = None,
    listed: Annotated[bool, typer.Option("--list", help="List layouts; with a name, its options.")] = False,
    name: Annotated[str, typer.Option(help="Name of the source in study.toml; by default that of the layout.")] = "",
    option: Annotated[list[str] | None, typer.Option(help="A choice of the layout, such as unit=dollars.")] = None,
    field: Annotated[list[str] | None, typer.Option(help="A header of your own, such as provider=SCHOOL.")] = None,
    crosswalk: Annotated[Path | None, typer.Option(help="File that translates the identifier of raw files.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only report what would be stored and refused.")] = False,
    as_json: Json = False,
) -> None:
    """Load files as agencies hold them: report what a layout makes of them, store it, and add it to study.toml."""
    from retrain_eval.study.importing import Wanted, import_source, list_layouts

    if listed:
        _done(as_json, *list_layouts(str(folder or "")))
        return
    wanted = Wanted(name, tuple(option or ()), tuple(field or ()), crosswalk)
    with _steps(f"{'Checking' if dry_run else 'Importing'} raw files", quiet=as_json) as say:
        facts, text = import_source(folder, layout, files, wanted, dry_run=dry_run, say=say, watch=say.watch)
    _done(as_json, facts, text)


@app.command(epilog="Example: retrain-eval run analyses/nsw")
def run(
    folder: Folder,
    as_of: Annotated[int | None, typer.Option(help="Use the records as they stood at this vintage.")] = None,
    force: Force = False,
    as_json: Json = False,
) -> None:
    """Load the records and answer everything the study asks."""
    from retrain_eval.report.shown import not_shown, say_not_shown
    from retrain_eval.study.folder import Study

    with _steps(f"Running {folder}", quiet=as_json) as say:
        results = Study.open(folder).run(as_of=as_of, force=force, say=say, watch=say.watch)
    effects = results.tables.get("effects")
    names = [] if effects is None else list(dict.fromkeys(effects["result"].astype(str)))
    withheld = results.withheld()
    facts: dict[str, object] = {"results": names, "withheld": withheld, "not_shown": not_shown(names)}
    _done(as_json, facts, f"{len(names)} results: {', '.join(names)}{_say_withheld(withheld)}{say_not_shown(names)}")


def _say_withheld(withheld: Mapping[str, str]) -> str:
    """Return the lines that list withheld results, to follow a line of text; nothing where there are none."""
    listed = "".join(f"\n  {name}: {reason}" for name, reason in withheld.items())
    return f"\n{len(withheld)} withheld:{listed}" if withheld else ""


@app.command(epilog="Example: retrain-eval plan analyses/nsw")
def plan(
    folder: Folder,
    reason: Annotated[str, typer.Option(help="What changed and why, where a plan is registered that differs.")] = "",
    as_json: Json = False,
) -> None:
    """Register the study file as the plan, before outcomes are opened; a registered plan is only ever amended."""
    from retrain_eval.study.folder import Study

    made, new = Study.open(folder).plan(reason=reason)
    facts = {"new": new, "sha256": made.sha256, "time": made.time, "amends": made.amends, "opened": made.n_opened}
    text = f"{'registered' if new else 'already registered'} on {made.time}, SHA-256 {made.sha256}"
    if made.amends:
        text += f"\namends the plan with SHA-256 {made.amends}: {made.reason}"
    if made.n_opened:
        text += (
            f"\n{made.n_opened} record files had been read by a run before: it is not a plan for their outcomes, "
            "and the report says so"
        )
    _done(as_json, facts, text)


@app.command(epilog='Example: retrain-eval release analyses/nsw --edition 2026 --approved-by "A. Name"')
def release(
    folder: Folder,
    edition: Annotated[str, typer.Option(help="Name of the edition, such as the year.")],
    approved_by: Annotated[
        str, typer.Option(help="Who approves it for publication: an approved edition never changes.")
    ] = "",
    corrects: Annotated[str | None, typer.Option(help="The approved edition that this one corrects.")] = None,
    reason: Annotated[
        str, typer.Option(help="What was wrong with the edition that is corrected, returned or withdrawn.")
    ] = "",
    returned_by: Annotated[str, typer.Option(help="Return a draft: who does, with --reason.")] = "",
    withdrawn_by: Annotated[
        str,
        typer.Option(help="Withdraw an approved edition that no one outside has any more: who does, with --reason."),
    ] = "",
    draft: Annotated[bool, typer.Option("--draft", help="Write a draft, which nobody has approved.")] = False,
    replace: Annotated[bool, typer.Option("--replace", help="Overwrite a draft that differs.")] = False,
    sign: Annotated[
        Path | None,
        typer.Option(help="Sign the edition with this Ed25519 private key (PEM or OpenSSH).", metavar="KEYFILE"),
    ] = None,
    as_json: Json = False,
) -> None:
    """Apply the disclosure rules and write a release bundle: an approved edition, or a draft to look at."""
    from retrain_eval.release.signing import read_private_key
    from retrain_eval.report.shown import say_not_shown
    from retrain_eval.study.folder import Study

    study = Study.open(folder)
    if by := returned_by or withdrawn_by:
        kept = study.take_back(edition, by=by, reason=reason, published=bool(withdrawn_by))
        where = "its folder was gone" if kept is None else f"kept in {kept}"
        _done(as_json, {"edition": edition, "by": by, "kept": kept and str(kept)}, f"{edition} is taken back: {where}")
        return
    key = None if sign is None else read_private_key(sign, _password)
    approved_by = _approval(approved_by, draft=draft, replace=replace)
    with _steps(f"Releasing {folder}, edition {edition}", quiet=as_json) as say:
        bundle = study.release(
            edition, approved_by=approved_by, corrects=corrects, reason=reason, replace=replace, sign=key, say=say
        )
    facts = {
        "bundle": str(bundle.path),
        "sha256": bundle.sha256,
        "files": len(bundle.manifest["files"]),
        "approved_by": bundle.approved_by,
        "corrects": bundle.corrects.get("edition", ""),
        "withheld": bundle.withheld,
    }
    standing = f"approved by {bundle.approved_by}" if bundle.approved_by else "a draft (--approved-by publishes it)"
    text = f"{facts['files']} files in {bundle.path}, {standing}, manifest SHA-256 {bundle.sha256[:16]}…"
    names = [] if bundle.effects is None else bundle.effects["result"].astype(str).tolist()
    _done(as_json, facts, text + _say_withheld(bundle.withheld) + say_not_shown(names))


def _approval(name: str, *, draft: bool, replace: bool) -> str:
    """Return who approves: as given, or asked for at a terminal; a script that names nobody writes a draft."""
    if draft and name.strip():
        raise InputError("a draft is approved by nobody", fix="drop --draft or --approved-by")
    if draft or replace or name.strip() or not (sys.stdin.isatty() and sys.stdout.isatty()):
        return name
    return str(
        typer.prompt("Approved for publication by (your name; empty for a draft)", default="", show_default=False)
    )


def _password() -> str:
    """Ask for the password of an encrypted key, but only at a terminal."""
    if not sys.stdin.isatty():
        return ""
    return str(typer.prompt("Password of the signing key", hide_input=True, err=True))


@app.command(epilog="Example: retrain-eval report analyses/nsw --edition 2026")
def report(
    folder: Folder,
    edition: Annotated[str | None, typer.Option(help="Edition to print; the latest by default.")] = None,
    language: Annotated[
        str | None, typer.Option(help="Language of the report, en or zh; the study file's by default.")
    ] = None,
    pdf: Annotated[
        bool, typer.Option("--pdf", help="Print it to report.pdf too, where a Chromium or Chrome is found.")
    ] = False,
    force: Force = False,
    as_json: Json = False,
) -> None:
    """Build the report of an edition as a Jupyter Book, from release bundles alone."""
    from retrain_eval.report.language.catalogue import speaking
    from retrain_eval.report.pages.index import headline_findings
    from retrain_eval.study.folder import Study

    study = Study.open(folder)
    with _steps(f"Building the report of {folder}", quiet=as_json) as say:
        page = study.report(edition, language=language, force=force, say=say)
        printed = study.pdf(edition, language=language, force=force, say=say) if pdf else None
    with speaking(language or study.file.report.language):
        findings = headline_findings(study.bundle(edition))
    lines = [f"The report is at {page.resolve().as_uri()}"]
    if printed is not None:
        lines.append(f"and printed at   {printed.resolve().as_uri()}")
    lines += ["", "Headline findings"]
    lines += [f"  {i}. {finding.statement}" for i, finding in enumerate(findings, 1)]
    facts: dict[str, object] = {"report": str(page), "findings": [finding.statement for finding in findings]}
    if pdf:
        facts["pdf"] = None if printed is None else str(printed)
    _done(as_json, facts, "\n".join(lines))


@app.command(epilog="Example: retrain-eval verify analyses/nsw/release/2026")
def verify(
    bundle: Annotated[Path, typer.Argument(help="Folder of an edition.", show_default=False)],
    signed_by: Annotated[
        Path | None,
        typer.Option(help="Ed25519 public key (PEM or OpenSSH) of the required signer.", metavar="PUBKEY"),
    ] = None,
    as_json: Json = False,
) -> None:
    """Re-derive every published number of a release bundle from the bundle alone, and compare."""
    from retrain_eval.release.verification.within import verify_within as check

    with _steps(f"Verifying {bundle}", quiet=as_json):
        verification = check(bundle, signed_by=None if signed_by is None else str(signed_by.absolute()))
    facts: dict[str, object] = {
        "bundle": str(bundle),
        "files": verification.n_files,
        "problems": list(verification.problems),
        "rederived": verification.n_rederived,
        "on_covariance": verification.on_covariance,
        "stated": verification.stated,
        "withheld": verification.withheld,
        "untied": verification.untied,
        "not_checked": list(verification.unchecked),
        "origin": verification.origin,
    }
    if verification.ok:
        _done(as_json, facts, str(verification))
    else:
        _fail(str(verification), as_json=as_json, facts=facts)


@app.command(epilog="Example: retrain-eval questions analyses/agency")
def questions(
    folder: Annotated[Path | None, typer.Argument(help="Study folder; left out, the whole catalogue.")] = None,
    as_json: Json = False,
) -> None:
    """List the questions that can be asked; of a study, which its records can answer and what others lack."""
    from retrain_eval.study.asked import list_questions

    _done(as_json, *list_questions(folder))


@app.command(epilog="Example: retrain-eval schema wage_record")
def schema(
    resource: Annotated[str | None, typer.Argument(help="Record type; all by default.")] = None,
    folder: Annotated[Path | None, typer.Option("--study", help="Also the record types this study adds.")] = None,
    as_json: Json = False,
) -> None:
    """Print the data dictionary: every column, its type, unit and rules."""
    from retrain_eval.study.schemas import columns_of, printed

    frame = columns_of(resource, folder)
    if as_json:
        _done(True, {"columns": json.loads(frame.to_json(orient="records"))}, "")
        return
    for table in printed(frame):
        out.print(table, soft_wrap=False)


def _done(as_json: bool, facts: dict[str, object], text: str) -> None:
    if as_json:
        typer.echo(json.dumps(facts, ensure_ascii=False))
    else:
        out.print(for_terminal(text))


def _fail(text: str, *, as_json: bool, facts: dict[str, object] | None = None) -> NoReturn:
    if as_json:
        typer.echo(json.dumps(facts or {"error": text}, ensure_ascii=False))
    else:
        err.print(f"[bold red]error[/bold red] {for_terminal(text)}")
    raise SystemExit(1)


def main() -> None:
    """Run the command line; errors of the package and of the disk are printed without a traceback."""
    use_utf8()
    os.umask(0o077)  # unreleased files are readable only by their owner: DuckDB's log, what a script writes
    try:
        try:
            app()
        finally:
            sys.stdout.flush()
    except RetrainEvalError as error:
        _fail(str(error), as_json="--json" in sys.argv)
    except BrokenPipeError:  # as with `| head`
        _drop_output()
        raise SystemExit(1) from None
    except KeyboardInterrupt:
        _fail("interrupted; the last complete state stands", as_json="--json" in sys.argv)
    except Exception as error:
        from retrain_eval.common.disk import OF_THE_MACHINE, store_error  # with DuckDB, which --help does without

        if not isinstance(error, (OSError, *OF_THE_MACHINE)):
            raise
        _drop_output()
        _fail(str(store_error(error, Path.cwd())), as_json="--json" in sys.argv)


def _drop_output() -> None:
    """Discard output that could not be written; otherwise Python would try again at exit."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
