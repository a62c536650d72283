"""`lesion correct`: have the service keep photographs with their corrected masks."""

import json
import sys
from argparse import Namespace
from pathlib import Path

from tqdm import tqdm

from service.cli.files import IMAGES, MASKS, UsageError, find_files, pair_up, shown
from service.cli.segment import Outcome, exit_code, run_jobs
from service.client import Client, Correction


def correct(args: Namespace, client: Client) -> int:
    """Run the command.

    Returns:
        0; 1 where a file failed or had no partner; 3 where the service did not answer.

    Raises:
        UsageError: no photograph has a mask of its name.
    """
    pairs, alone = pair_up(find_files([args.image], IMAGES), find_files([args.mask], MASKS))
    if not pairs:
        raise UsageError("no photograph has a mask of the same name")
    failed = [Outcome(file, problem="has no partner of the same name") for file in alone]

    def send(image: Path, mask: Path) -> Correction:
        return client.correct(
            image,
            mask,
            annotator=args.annotator,
            threshold=args.threshold,
            margin=args.margin,
            model=args.model,
        )

    with tqdm(total=len(pairs), desc="correct", unit="pair", disable=args.json or None) as bar:
        images, masks = [pair[0] for pair in pairs], [pair[1] for pair in pairs]
        results = run_jobs(args.jobs, send, images, masks)
        for image, result in zip(images, results, strict=True):
            if isinstance(result, Outcome):
                failed.append(result)
            elif args.json:
                print(json.dumps({"file": str(image), "ok": True, "id": result.id}), flush=True)
            bar.update()
    for outcome in failed:
        if args.json:
            print(json.dumps(outcome.as_json()), flush=True)
        else:
            print(f"lesion: {shown(outcome.file)}: {outcome.problem}", file=sys.stderr)
    if not args.json:
        sent = len(pairs) + len(alone) - len(failed)
        print(f"{sent} of {len(pairs)} corrections kept by the service")
    return exit_code(failed)
