"""Further tables: what is known of lanes besides the rows of `due` that wait in them."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import BigInteger
from sqlalchemy.orm import Mapped, mapped_column

from app.database.tables import Base


class Lane(Base):
    """An endpoint and a stream whose order it keeps: the last delivery that was made for it. Written by who accepts
    events, under the stream's lock, and by nobody else, so that accepting waits for no drain. The rows that wait in the
    lane are in `due`. No foreign keys: each would be a lock."""

    __tablename__ = "lanes"
    __table_args__ = ({"postgresql_with": {"fillfactor": 70}},)  # tail_seq changes with every event
    endpoint_id: Mapped[str] = mapped_column(primary_key=True)
    stream_id: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    tail_seq: Mapped[int] = mapped_column(BigInteger)
    moved_at: Mapped[datetime]


class LaneMark(Base):
    """How far a lane has come (functions/mark_lane.sql): what is before has left it. A hint, which may be missing."""

    __tablename__ = "lane_marks"
    endpoint_id: Mapped[str] = mapped_column(primary_key=True)
    stream_id: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    low_seq: Mapped[int] = mapped_column(BigInteger)
    marked_at: Mapped[datetime]


class LaneSkip(Base):
    """What has left a lane without success since its last success; the receiver is told of it until the next."""

    __tablename__ = "lane_skips"
    endpoint_id: Mapped[str] = mapped_column(primary_key=True)
    stream_id: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    seq: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    skipped_at: Mapped[datetime]
