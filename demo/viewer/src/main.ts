/** What Streamlit calls whenever the page sends other data, and once more at the end. */

import { type Data, type Send, Viewer } from "./viewer";

interface Component {
  parentElement: Element;
  data: Data;
  setTriggerValue: Send;
}

const viewers = new WeakMap<Element, Viewer>();

export default function show({ parentElement, data, setTriggerValue }: Component): () => void {
  const viewer = viewers.get(parentElement) ?? new Viewer(parentElement, setTriggerValue);
  viewers.set(parentElement, viewer);
  viewer.update(data, setTriggerValue);
  return () => {
    viewers.delete(parentElement);
    viewer.destroy();
  };
}
