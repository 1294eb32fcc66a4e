"""The outbox and the sequence of each source.

Expand only. The column ``envelope`` is ``json``, not ``jsonb``: it keeps the text exactly as it will be published.
"""

from alembic import op

revision = "events_0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute(
        """
        CREATE TABLE events.sources (
          source_id     text PRIMARY KEY,
          last_sequence bigint NOT NULL CHECK (last_sequence >= 1)
        )
        """
    )
    op.execute(
        """
        CREATE TABLE events.outbox (
          source_id      text        NOT NULL REFERENCES events.sources,
          sequence       bigint      NOT NULL CHECK (sequence >= 1),
          event_id       uuid        NOT NULL UNIQUE,
          topic          text        NOT NULL,
          entity_key     text        NOT NULL,
          entity_version bigint      NOT NULL CHECK (entity_version >= 1),
          classification text        NOT NULL CHECK (classification IN ('global', 'jurisdiction', 'node')),
          envelope       json        NOT NULL,
          recorded_at    timestamptz NOT NULL,
          published_at   timestamptz,
          PRIMARY KEY (source_id, sequence)
        )
        """
    )
    op.execute("CREATE INDEX outbox_unpublished ON events.outbox (source_id, sequence) WHERE published_at IS NULL")
    op.execute("COMMENT ON COLUMN events.outbox.published_at IS 'null until the broker has acknowledged the event'")


def downgrade() -> None:
    raise NotImplementedError("schemas only expand; an older program runs on a newer schema")
