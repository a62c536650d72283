import json
from pathlib import Path

from trainer.archive.file_store import FileStore
from trainer.archive.shards import Shard, cut, mask_name, remove_stale, unfinished
from trainer.archive.sources import Photograph


def photographs(count: int, *, state: str = "1") -> list[Photograph]:
    return [Photograph(f"{n}.png", f"/in/{n}.png", None, state) for n in range(count)]


def finish(shard: Shard, out: FileStore) -> None:
    """Leave a shard's files."""
    names = [photograph.name for photograph in shard.photographs]
    for name in names:
        out.write(mask_name(name), b"mask")
    out.write(f"coco/{shard.key}.json", b"{}")
    out.write(f"done/{shard.key}.json", json.dumps({"names": names}).encode())


def test_every_photograph_is_in_one_shard() -> None:
    shards = cut(photographs(7), 3)
    assert [len(shard.photographs) for shard in shards] == [3, 3, 1]
    assert [each for shard in shards for each in shard.photographs] == photographs(7)
    assert [shard.start for shard in shards] == [0, 3, 6]


def test_a_shard_s_key_says_what_it_holds() -> None:
    keys = [shard.key for shard in cut(photographs(4), 2)]
    assert keys == [shard.key for shard in cut(photographs(4), 2)]
    assert len(set(keys)) == 2
    assert keys[0] == cut(photographs(5), 2)[0].key
    assert not {shard.key for shard in cut(photographs(4, state="2"), 2)} & set(keys)


def test_shards_that_are_there_are_not_unfinished(tmp_path: Path) -> None:
    out, shards = FileStore(str(tmp_path)), cut(photographs(6), 2)
    assert unfinished(shards, out) == shards
    finish(shards[1], out)
    assert unfinished(shards, out) == [shards[0], shards[2]]


def test_a_shard_without_its_note_is_unfinished(tmp_path: Path) -> None:
    out, shards = FileStore(str(tmp_path)), cut(photographs(2), 2)
    finish(shards[0], out)
    out.remove(f"done/{shards[0].key}.json")
    assert unfinished(shards, out) == shards
    remove_stale(shards, out)  # what is there of it stays: it would be written again just so
    assert out.names("coco") == {f"{shards[0].key}.json"}


def test_sweeping_leaves_nothing_of_photographs_that_went(tmp_path: Path) -> None:
    out, before = FileStore(str(tmp_path)), cut(photographs(4), 2)
    for shard in before:
        finish(shard, out)
    after = cut(photographs(3), 2)
    remove_stale(after, out)
    assert out.names("done") == {f"{after[0].key}.json"}
    assert out.names("coco") == {f"{after[0].key}.json"}
    assert out.names("masks") == {"0.png.png", "1.png.png", "2.png.png"}
