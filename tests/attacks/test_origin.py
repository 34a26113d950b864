"""Who released an edition: signed, not signed, signed by another, altered afterwards; and keys as people make them."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519

import small_study
from retrain_eval.common.errors import InputError, ReleaseError
from retrain_eval.release.bundle import Bundle
from retrain_eval.release.signing import fingerprint, read_private_key, read_public_key
from retrain_eval.release.verification.verify import verify
from retrain_eval.study.folder import Study

PEM, SSH = serialization.Encoding.PEM, serialization.Encoding.OpenSSH
NO_PASSWORD = serialization.NoEncryption()


def pair(folder: Path, name: str, *, openssh: bool = False, password: str = "") -> tuple[Path, Path]:
    """Write a pair of keys, in PEM or as OpenSSH does."""
    key = ed25519.Ed25519PrivateKey.generate()
    secret = serialization.BestAvailableEncryption(password.encode()) if password else NO_PASSWORD
    form = serialization.PrivateFormat.OpenSSH if openssh else serialization.PrivateFormat.PKCS8
    private, public = folder / f"{name}.key", folder / f"{name}.pub"
    private.write_bytes(key.private_bytes(PEM, form, secret))
    private.chmod(0o600)
    kind = serialization.PublicFormat.OpenSSH if openssh else serialization.PublicFormat.SubjectPublicKeyInfo
    public.write_bytes(key.public_key().public_bytes(SSH if openssh else PEM, kind))
    return private, public


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Study:
    study = Study.open(small_study.make(tmp_path_factory.mktemp("origin") / "tiny"))
    study.run()
    return study


def test_a_signature_proves_origin_and_its_absence_is_said(study: Study, tmp_path: Path) -> None:
    private, public = pair(tmp_path, "agency")
    _, other = pair(tmp_path, "other", openssh=True)
    plain = study.release("2026", approved_by="Ada")
    assert "consistency is proved, origin is not: it has no signature" in str(verify(plain.path))
    missing = verify(plain.path, signed_by=public)
    assert not missing.ok
    assert "manifest.sig is missing" in missing.problems[0]

    signed = study.release("2026", approved_by="Ada", sign=read_private_key(private))  # an approved edition, again
    assert signed.sha256 == plain.sha256
    assert oct((signed.path / "manifest.sig").stat().st_mode & 0o777) == "0o644"
    assert Bundle.open(signed.path).problems() == []
    assert "its signature was not checked" in str(verify(signed.path))
    proved = verify(signed.path, signed_by=public)
    assert proved.ok
    assert proved.origin == f"signed by {fingerprint(read_public_key(public))}"
    wrong = verify(signed.path, signed_by=other)
    assert wrong.problems[0].startswith("wrong key: manifest.sig names SHA256:")

    code, said = small_study.cli("verify", signed.path, "--signed-by", public)
    assert code == 0
    assert "signed by SHA256:" in said
    code, said = small_study.cli("verify", signed.path, "--signed-by", other)
    assert code == 1
    assert "wrong key" in said


def test_whoever_alters_an_edition_and_its_manifest_cannot_sign_it(study: Study, tmp_path: Path) -> None:
    private, public = pair(tmp_path, "agency")
    bundle = study.release("2027", sign=read_private_key(private))
    copy = tmp_path / "copy"
    shutil.copytree(bundle.path, copy)
    manifest = json.loads((copy / "manifest.json").read_text())
    manifest["approved_by"] = "The Minister"
    (copy / "manifest.json").write_text(json.dumps(manifest))
    verification = verify(copy, signed_by=public)
    assert not verification.ok
    assert verification.problems[0].startswith("wrong signature: manifest.sig is not a signature by")
    for damage in (
        b"",
        b"x" * 10,
        b"\xff\xfe",
        b"retrain-eval-ed25519-v1\nAAAA\nSHA256:x\n",
        b"a\nb\nc\n",
    ):
        (copy / "manifest.sig").write_bytes(damage)
        assert verify(copy, signed_by=public).problems[0].startswith("damaged signature")
    (copy / "manifest.sig").unlink()
    (copy / "manifest.sig").symlink_to(bundle.path / "manifest.sig")
    with pytest.raises(ReleaseError, match="a symbolic link"):
        verify(copy, signed_by=public)
    (copy / "manifest.sig").unlink()
    (copy / "manifest.sig").write_bytes(b"0" * 70_000)
    with pytest.raises(ReleaseError, match="at most 65,536 bytes"):
        verify(copy, signed_by=public)


def test_what_replaces_a_signed_draft_is_not_signed(study: Study, tmp_path: Path) -> None:
    private, public = pair(tmp_path, "agency")
    draft = study.release("2028", sign=read_private_key(private))
    assert verify(draft.path, signed_by=public).ok
    approved = study.release("2028", approved_by="Ada")  # the manifest is another
    assert not (approved.path / "manifest.sig").exists()
    assert study.release("2028-1", approved_by="Ada", corrects="2028", reason="x", sign=read_private_key(private))
    assert not (approved.path / "manifest.sig").exists()  # the correction's alone is signed


@pytest.mark.parametrize("openssh", [False, True], ids=["PEM", "OpenSSH"])
def test_a_key_that_others_can_read_or_that_needs_another_password_is_refused(
    tmp_path: Path, openssh: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    private, public = pair(tmp_path, "locked", openssh=openssh, password="correct horse")
    with pytest.raises(InputError, match="is encrypted"):
        read_private_key(private)
    with pytest.raises(InputError, match="password does not decrypt") as refused:
        read_private_key(private, lambda: "wrong horse")
    assert "horse" not in str(refused.value)
    monkeypatch.setenv("RETRAIN_EVAL_SIGN_PASSWORD", "correct horse")
    key = read_private_key(private)
    assert fingerprint(key.public_key()) == fingerprint(read_public_key(public))
    private.chmod(0o640)
    with pytest.raises(InputError, match="others can read the signing key"):
        read_private_key(private)


def test_other_files_are_no_keys(tmp_path: Path) -> None:
    private, public = pair(tmp_path, "agency")
    curve = ec.generate_private_key(ec.SECP256R1())
    other = tmp_path / "ec.key"
    other.write_bytes(curve.private_bytes(PEM, serialization.PrivateFormat.PKCS8, NO_PASSWORD))
    other.chmod(0o600)
    empty = tmp_path / "empty"
    empty.write_bytes(b"")
    empty.chmod(0o600)
    for path in (public, other, empty, tmp_path / "none", tmp_path):
        tmp_path.chmod(0o700)
        with pytest.raises(InputError):
            read_private_key(path)
    for path in (private, other, empty, tmp_path / "none", tmp_path):
        with pytest.raises(InputError):
            read_public_key(path)


def test_keys_made_as_the_guide_says_sign_and_check(tmp_path: Path) -> None:
    made = 0
    if shutil.which("openssl"):
        subprocess.run("openssl genpkey -algorithm ed25519 -out r.key && openssl pkey -in r.key -pubout -out r.pub",
                       shell=True, check=True, cwd=tmp_path)  # fmt: skip
        made += 1
    if shutil.which("ssh-keygen"):
        subprocess.run(
            "ssh-keygen -q -t ed25519 -N '' -f s.key && mv s.key.pub s.pub", shell=True, check=True, cwd=tmp_path
        )
        name = subprocess.run(["ssh-keygen", "-lf", "s.pub"], capture_output=True, text=True, check=True, cwd=tmp_path)
        assert fingerprint(read_public_key(tmp_path / "s.pub")) in name.stdout
        made += 1
    if not made:
        pytest.skip("neither openssl nor ssh-keygen is here")
    study = Study.open(small_study.make(tmp_path / "tiny"))
    study.run()
    for private in sorted(tmp_path.glob("*.key")):
        os.chmod(private, 0o600)
        code, said = small_study.cli("release", study.folder, "--edition", f"by-{private.stem}", "--sign", private)
        assert code == 0, said
        edition = study.folder / "release" / f"by-{private.stem}"
        assert verify(edition, signed_by=private.with_suffix(".pub")).ok
