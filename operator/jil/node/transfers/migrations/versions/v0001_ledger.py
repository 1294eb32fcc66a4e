"""Accounts, transfers and remembered answers.

Expand only. Amounts are integers in the currency's minor unit, at most 2^53 - 1, so that every JSON reader keeps them
exact; the database refuses a negative balance whatever the program does.
"""

from alembic import op

revision = "ledger_0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute(
        """
        CREATE TABLE ledger.accounts (
          id              text COLLATE "C" PRIMARY KEY,
          currency        text        NOT NULL CHECK (currency ~ '^[A-Z]{3}$'),
          opening_balance bigint      NOT NULL CHECK (opening_balance BETWEEN 0 AND 9007199254740991),
          balance         bigint      NOT NULL CHECK (balance BETWEEN 0 AND 9007199254740991),
          version         bigint      NOT NULL CHECK (version >= 1),
          opened_at       timestamptz NOT NULL
        )
        """
    )
    op.execute(
        """
        CREATE TABLE ledger.transfers (
          id           uuid PRIMARY KEY,
          from_account text COLLATE "C" NOT NULL REFERENCES ledger.accounts,
          to_account   text COLLATE "C" NOT NULL REFERENCES ledger.accounts,
          amount       bigint      NOT NULL CHECK (amount BETWEEN 1 AND 9007199254740991),
          currency     text        NOT NULL,
          booked_at    timestamptz NOT NULL,
          CHECK (from_account <> to_account)
        )
        """
    )
    op.execute(
        """
        CREATE TABLE ledger.answers (
          idempotency_key text COLLATE "C" PRIMARY KEY,
          request_sha256  bytea       NOT NULL CHECK (length(request_sha256) = 32),
          status          smallint,
          body            json,
          answered_at     timestamptz NOT NULL
        )
        """
    )
    op.execute("COMMENT ON TABLE ledger.answers IS 'what was answered to each idempotency key, refusals included'")


def downgrade() -> None:
    raise NotImplementedError("schemas only expand; an older program runs on a newer schema")
