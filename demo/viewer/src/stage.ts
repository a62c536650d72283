/** The photograph on the screen: zoom and pan by OpenSeadragon, and two layers of SVG over it. */

import OpenSeadragon from "openseadragon";

import { set, svg } from "./dom";
import type { Point } from "./mask";

/** What a tool does with a pointer on the picture; places are in pixels of the photograph. */
export interface Grip {
  press?(at: Point): void;
  drag?(at: Point): void;
  release?(): void;
  /** A second finger came: what was begun is not meant. */
  cancel?(): void;
  click?(at: Point): void;
  hover?(at: Point | null): void;
}

const MOST_SCREEN_PX_PER_PIXEL = 24;
const ZOOM_STEP = 1.4;
const PAN_STEP = 0.15;
const AT_HOME = 1.02;

export class Stage {
  /** Moves and scales with the photograph: a unit is one of its pixels. */
  readonly outline = svg("g");
  /** Moves and scales with the photograph, and is not cut by the slider. */
  readonly marks = svg("g");
  /** Drawn in pixels of the screen, above all. */
  readonly tools = svg("g");
  readonly cut: SVGSVGElement;
  /** What a drag does; null pans. */
  grip: Grip | null = null;
  /** While held (the space bar), a drag pans whatever the tool. */
  panning = false;

  private readonly viewer: OpenSeadragon.Viewer;
  private size: Point = [1, 1];
  private readonly listeners: (() => void)[] = [];

  constructor(readonly box: HTMLElement) {
    const still = matchMedia("(prefers-reduced-motion: reduce)").matches;
    const gestures = { clickToZoom: false, scrollToZoom: false, flickEnabled: false };
    this.viewer = new OpenSeadragon.Viewer({
      element: box,
      drawer: "canvas",
      showNavigationControl: false,
      animationTime: still ? 0 : 0.25,
      visibilityRatio: 1,
      constrainDuringPan: true,
      minZoomImageRatio: 1,
      maxZoomPixelRatio: MOST_SCREEN_PX_PER_PIXEL,
      gestureSettingsMouse: { ...gestures, dblClickToZoom: false },
      gestureSettingsTouch: { ...gestures, dblClickToZoom: false, pinchRotate: false },
      gestureSettingsPen: { ...gestures, dblClickToZoom: false },
    });
    this.cut = svg("svg", { class: "lv-layer lv-cut", "aria-hidden": "true" }, this.outline);
    const above = svg("svg", { class: "lv-layer" }, this.marks, this.tools);
    this.viewer.canvas.append(this.cut, above);
    set(this.viewer.canvas, { tabindex: -1 });
    this.viewer.addHandler("update-viewport", () => this.follow());
    this.viewer.addHandler("resize", () => this.viewer.forceRedraw());
    this.viewer.addHandler("canvas-key", (event) => this.leaveTo(event));
    this.viewer.addHandler("canvas-cooperative-gesture", (event) => this.leaveTo(event));
    this.listenToPointers();
  }

  /** Show a photograph whole. */
  show(url: string, width: number, height: number): void {
    this.size = [width, height];
    this.viewer.open({ tileSource: { type: "image", url, width, height } as never });
  }

  /** Call back whenever the picture moves on the screen. */
  onMove(callback: () => void): void {
    this.listeners.push(callback);
  }

  /** Pixels of the screen for one of the photograph; 0 before there is one. */
  scale(): number {
    return this.toScreen([1, 0])[0] - this.toScreen([0, 0])[0];
  }

  toScreen([x, y]: Point): Point {
    const item = this.viewer.world?.getItemAt(0);
    if (!item) return [0, 0];
    const at = item.imageToViewerElementCoordinates(new OpenSeadragon.Point(x, y));
    return [at.x, at.y];
  }

  /** The place of the photograph under a point of the box, within the photograph. */
  toImage(x: number, y: number): Point {
    const [left, top] = this.toScreen([0, 0]);
    const scale = this.scale() || 1;
    const inside = (value: number, size: number) => Math.min(size, Math.max(0, value));
    return [inside((x - left) / scale, this.size[0]), inside((y - top) / scale, this.size[1])];
  }

  zoom(steps: number): void {
    this.viewer.viewport.zoomBy(ZOOM_STEP ** steps);
    this.viewer.viewport.applyConstraints();
  }

  pan(right: number, down: number): void {
    const view = this.viewer.viewport.getBounds();
    this.viewer.viewport.panBy(
      new OpenSeadragon.Point(right * PAN_STEP * view.width, down * PAN_STEP * view.height),
    );
    this.viewer.viewport.applyConstraints();
  }

  home(): void {
    this.viewer.viewport.goHome();
  }

  /** Whether the whole photograph is seen. */
  isHome(): boolean {
    const viewport = this.viewer.viewport;
    return !viewport || viewport.getZoom(true) <= viewport.getHomeZoom() * AT_HOME;
  }

  destroy(): void {
    this.viewer.destroy();
  }

  private follow(): void {
    const [[x, y], scale] = [this.toScreen([0, 0]), this.scale()];
    const transform = `matrix(${scale} 0 0 ${scale} ${x} ${y})`;
    set(this.outline, { transform });
    set(this.marks, { transform });
    // With the whole picture in view there is nothing to pan: one finger scrolls the page.
    this.viewer.setCooperativeGestures(this.grip === null && this.isHome());
    this.listeners.forEach((listener) => listener());
  }

  private leaveTo(event: { preventDefaultAction?: boolean }): void {
    event.preventDefaultAction = true;
  }

  private listenToPointers(): void {
    type Place = { position: OpenSeadragon.Point; preventDefaultAction?: boolean; quick?: boolean };
    const viewer = this.viewer;
    let held = false;
    const at = (event: Place) => this.toImage(event.position.x, event.position.y);
    const gripping = () => this.grip !== null && !this.panning;
    viewer.addHandler("canvas-press", (event) => {
      held = gripping();
      if (held) this.grip?.press?.(at(event));
    });
    viewer.addHandler("canvas-drag", (event) => {
      if (!gripping()) return;
      this.leaveTo(event);
      if (held) this.grip?.drag?.(at(event));
    });
    viewer.addHandler("canvas-drag-end", (event) => {
      if (gripping()) this.leaveTo(event);
    });
    viewer.addHandler("canvas-release", () => {
      if (held) this.grip?.release?.();
      held = false;
    });
    viewer.addHandler("canvas-pinch", () => {
      if (held) this.grip?.cancel?.();
      held = false;
    });
    viewer.addHandler("canvas-click", (event) => {
      if (event.quick && gripping()) this.grip?.click?.(at(event));
    });
    viewer.canvas.addEventListener("pointermove", (event) => {
      const box = viewer.canvas.getBoundingClientRect();
      this.grip?.hover?.(this.toImage(event.clientX - box.left, event.clientY - box.top));
    });
    viewer.canvas.addEventListener("pointerleave", () => this.grip?.hover?.(null));
    viewer.addHandler("canvas-double-click", (event) => {
      if (this.grip === null) this.zoomAt(event.position, 2);
    });
    viewer.addHandler("canvas-scroll", (event) => {
      // Out of the whole picture there is nowhere to go: the wheel scrolls the page.
      const leave = event.scroll < 0 && this.isHome();
      this.leaveTo(event);
      event.preventDefault = !leave;
      if (!leave) this.zoomAt(event.position, event.scroll > 0 ? 1 : -1);
    });
  }

  private zoomAt(position: OpenSeadragon.Point, steps: number): void {
    const viewport = this.viewer.viewport;
    viewport.zoomBy(ZOOM_STEP ** steps, viewport.pointFromPixel(position, true));
    viewport.applyConstraints();
  }
}

