"""``jilctl keys``: generate, list, export."""

from __future__ import annotations

import os
from typing import Annotated, Any

import typer
from rich.console import Console

from jil.api.trust import Custody, KeyAlgorithm, KeyRole, TrustKey
from jil.cli import cluster, options, output
from jil.cli.exits import Exit, Stop
from jil.cli.keystore import opening, pem, secrets, token
from jil.cli.keystore import source as sources
from jil.cli.keystore.opening import PrivateKey
from jil.cli.keystore.source import KeySource, Where
from jil.cli.options import Format
from jil.cli.output import escape
from jil.cli.steps.chain import state
from jil.cli.world import OFFLINE, POLICY, World, command
from jil.trust.formats.statement import write_time
from jil.trust.policy import Key

app = typer.Typer(no_args_is_help=True, help="Make, list and export keys.")

Id = Annotated[str, typer.Option("--id", help="Id of the key in the policy, such as release-2026.", show_default=False)]
Owner = Annotated[
    str, typer.Option("--owner", help="Person or machine who holds it, such as alice@example.com.", show_default=False)
]
Roles = Annotated[list[KeyRole], typer.Option("--role", help="What it may do; repeat for several.", show_default=False)]
CustodyOption = Annotated[
    Custody, typer.Option("--custody", help="Where it is kept, as you declare it. Say hsm of a real HSM only.")
]


@command(app, "generate", *OFFLINE)
def generate(
    world: World,
    key: options.KeyName,
    key_id: Id,
    owner: Owner,
    role: Roles,
    algorithm: Annotated[
        KeyAlgorithm, typer.Option("--algorithm", help="ECDSA-P256 works with every version of cosign.")
    ] = KeyAlgorithm.ECDSA_P256,
    custody: CustodyOption = Custody.FILE,
    no_password: Annotated[
        bool, typer.Option("--no-password", help="Write the private key unencrypted; only for keys of a test.")
    ] = False,
) -> None:
    """Make a private key (never over another one) and print its entry for spec.trust.keys."""
    made = _generate(sources.parse(key), algorithm, world.choice, no_password)
    _entry(world, made, key_id, owner, role, custody)


@command(app, "export", *OFFLINE)
def export(
    world: World,
    key: options.KeyName,
    key_id: Annotated[str | None, typer.Option("--id", help="Id of the key in the policy.", show_default=False)] = None,
    owner: Annotated[str | None, typer.Option("--owner", help="Who holds it.", show_default=False)] = None,
    role: Annotated[list[KeyRole] | None, typer.Option("--role", help="What it may do.", show_default=False)] = None,
    custody: CustodyOption = Custody.FILE,
) -> None:
    """Print the public key in PEM; with --id, --owner and --role its entry for spec.trust.keys."""
    private = opening.open_key(sources.parse(key), world.choice)
    given = [key_id is not None, owner is not None, bool(role)]
    if not any(given):
        data = {"algorithm": private.algorithm, "publicKey": pem.public(private.spki)}
        output.show(world.output, data, lambda _: typer.echo(data["publicKey"], nl=False))
        return
    if key_id is None or owner is None or not role:
        raise Stop("an entry of the policy needs all of --id, --owner and --role", Exit.USAGE)
    _entry(world, private, key_id, owner, role, custody)


@command(app, "list", *POLICY)
def show(
    world: World,
    key: Annotated[
        str | None,
        typer.Option("--key", help="pkcs11:token=LABEL: list the keys in a token instead.", show_default=False),
    ] = None,
) -> None:
    """List the keys of the policy and whether they count now, or those in a token."""
    if key is not None:
        source = sources.parse(key)
        if source.where is not Where.PKCS11:
            raise Stop(
                "only a token has several keys: --key pkcs11:token=LABEL; without --key the policy is listed",
                Exit.USAGE,
            )
        labels = token.labels(source)
        output.show(world.output, {"keys": labels}, lambda console: console.print("\n".join(map(escape, labels))))
        return
    keys = world.policy().keys
    data = {"keys": [_row(entry) for entry in keys]}

    def people(console: Console) -> None:
        columns = ("id", "owner", "roles", "algorithm", "custody", "state")
        rows = [[_cell(_row(entry)[column]) for column in columns] for entry in keys]
        console.print(output.table(columns, rows))

    output.show(world.output, data, people)


def _row(entry: Key) -> dict[str, Any]:
    revoked = {"revokedAt": write_time(entry.revoked_at), "revocation": entry.revocation} if entry.revoked_at else {}
    return {
        "id": entry.id,
        "owner": entry.owner,
        "roles": sorted(entry.roles),
        "algorithm": entry.algorithm,
        "custody": entry.custody,
        "state": state(entry, output.now()),
    } | revoked


def _cell(value: object) -> str:
    text = ", ".join(value) if isinstance(value, list) else str(value)
    colour = {"valid": "green", "revoked": "red", "expired": "red", "not yet valid": "yellow"}.get(text)
    return f"[{colour}]{text}[/]" if colour else escape(text)


def _generate(source: KeySource, algorithm: KeyAlgorithm, choice: cluster.Choice, no_password: bool) -> PrivateKey:
    if source.where is Where.PKCS11:
        return token.generate(source, algorithm)
    if source.where is Where.ENVIRONMENT:
        raise Stop("a new key cannot be put into the environment: give a file, a Secret or a token", Exit.USAGE)
    if source.where is Where.FILE and source.path.exists():
        raise Stop(f"{source.path} is there already: keys are never overwritten, choose another name", Exit.KEY)
    password = None if no_password else secrets.password(str(source), twice=True)
    if password == b"":
        raise Stop("the password is empty: give one, or say --no-password", Exit.KEY)
    made = pem.generate(algorithm)
    content = pem.dump(made, password)
    if source.where is Where.SECRET:
        namespace, _, name = source.name.partition("/")
        cluster.create_secret(choice, namespace, name, source.attributes["entry"], content)
    else:
        _write(source, content)
    return made


def _write(source: KeySource, content: bytes) -> None:
    try:
        descriptor = os.open(source.path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except OSError as error:
        raise Stop(f"cannot write {source.path}: {error.strerror}", Exit.KEY) from None
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)


def _entry(world: World, key: PrivateKey, key_id: str, owner: str, roles: list[KeyRole], custody: Custody) -> None:
    """The entry as the API server will check it: what it would refuse is refused here."""
    body = {
        "id": key_id,
        "algorithm": key.algorithm,
        "publicKey": pem.public(key.spki),
        "owner": owner,
        "roles": list(dict.fromkeys(roles)),
        "custody": custody,
    }
    TrustKey.model_validate(body)
    form = Format.YAML if world.output is Format.TABLE else world.output
    typer.echo(output.text(form, [body]), nl=False)
