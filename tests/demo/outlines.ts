/** Random masks, outlined and filled again: to the pixel what they were. Run by test_bundle.py. */

import { Mask } from "./mask";
import { moved, straightened, trace } from "./outline";

let count = 0;
for (let n = 0; n < 300; n++) {
  const mask = new Mask(1 + (n % 37), 1 + ((n * 7) % 41));
  const share = Math.random();
  mask.bits.forEach((_, i) => (mask.bits[i] = Math.random() < share ? 1 : 0));
  const before = mask.counts().join();
  const rings = trace(mask);
  for (const ring of rings) {
    const same = moved(ring, 0, 0, 0);
    if (same.points.join() !== ring.points.join()) throw new Error("moved by nothing, it moved");
    const less = straightened(ring, 0);
    if (less && less.handles.length !== ring.handles.length - 1) throw new Error("one point too many");
  }
  mask.fill(rings.map(({ points }) => points));
  const filled = mask.counts().join();
  mask.read(before.split(",").map(Number));
  if (filled !== before || mask.counts().join() !== before) throw new Error(`${before} became ${filled}`);
  count++;
}
console.log(`${count} masks`);
