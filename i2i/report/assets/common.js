"use strict";
// What all parts of the page use: its data, elements, numbers, and the viewer for pictures at full size.
const data = JSON.parse(document.getElementById("data").textContent);
const svgNamespace = "http://www.w3.org/2000/svg"; // a name, never fetched

function element(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  node.append(...children);
  return node;
}
function shape(tag, attributes = {}, text = "") {
  const node = document.createElementNS(svgNamespace, tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  if (text) node.textContent = text;
  return node;
}
function number(value) {
  if (value === 0) return "0";
  const size = Math.abs(value);
  if (size >= 1e6 || size < 1e-3) return value.toExponential(2).replace("e+", "e").replace(/\.?0+e/, "e");
  return size >= 1000 ? Math.round(value).toLocaleString("en") : String(Number(value.toPrecision(4)));
}
function whole(value) { return Math.round(value).toLocaleString("en"); }

// Shows a section and the link to it.
function reveal(key) {
  document.getElementById(key).hidden = false;
  document.querySelector(`nav a[href="#${key}"]`).parentElement.hidden = false;
}

let namesGiven = 0;
// A choice of one of a few, as buttons side by side.
function choice(title, labels, chosen, act) {
  const name = `choice-${namesGiven += 1}`;
  const set = element("fieldset", { class: "choice" }, element("legend", { class: "unseen" }, title));
  labels.forEach((label, index) => {
    const input = element("input", { type: "radio", name, value: index });
    input.checked = index === chosen;
    set.append(element("label", {}, input, element("span", {}, label)));
  });
  set.addEventListener("change", (event) => act(Number(event.target.value)));
  return set;
}

const viewer = document.getElementById("viewer"), viewerImage = element("img", { alt: "" });
viewer.append(viewerImage);
viewer.addEventListener("click", () => viewer.close());
function enlarge(image) {
  viewerImage.src = image.src;
  viewerImage.alt = image.alt;
  viewer.showModal();
}
