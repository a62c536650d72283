/** A dot on the picture that a pointer or a key can take hold of: small to see, large to hit. */

import { set, svg } from "./dom";
import type { Point } from "./mask";

const DOT_PX = 6;
/** Radius that a finger hits; 24 px across is the least of WCAG 2.2. */
const HIT_PX = 13;

export function handle(label: string): SVGGElement {
  const circles = [svg("circle", { class: "lv-hit", r: HIT_PX }), svg("circle", { class: "lv-dot", r: DOT_PX })];
  return svg("g", { class: "lv-handle", tabindex: 0, role: "button", "aria-label": label }, ...circles);
}

/** Put a handle on a place of the screen; null hides it. */
export function put(each: SVGGElement, at: Point | null): void {
  set(each, at ? { transform: `translate(${at[0]} ${at[1]})`, display: null } : { display: "none" });
}
