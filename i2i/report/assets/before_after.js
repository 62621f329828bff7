// ---- two pictures over each other, with a slider between them ----
function sourceOf(source) {
  if (typeof source === "string") return source;
  return data.sheets.find((group) => group.name === source[0]).frames[source[1]].url;
}

function beforeAfter(groups) {
  let group = groups[0], picture = 0, left = group.left, right = group.right;
  const before = element("img", { alt: "", draggable: "false" }), after = element("img", { alt: "", draggable: "false" });
  const clipped = element("div", { class: "before" }, before);
  const range = element("input", { type: "range", min: 0, max: 100, step: 1, value: 50 });
  const handle = element("div", { class: "handle", "aria-hidden": "true" });
  const leftTag = element("span", { class: "tag" }), rightTag = element("span", { class: "tag right" });
  const stage = element("div", { class: "stage" }, after, clipped, leftTag, rightTag, handle, range);
  const caption = element("p", { class: "note" });
  const controls = element("div", { class: "controls" }), strip = element("div", { class: "strip" });

  function cut() {
    const share = Number(range.value);
    clipped.style.clipPath = `inset(0 ${100 - share}% 0 0)`;
    handle.style.left = `${share}%`;
    leftTag.style.opacity = share < 8 ? 0 : 1;
    rightTag.style.opacity = share > 92 ? 0 : 1;
    range.setAttribute("aria-valuetext", `${share} % ${group.columns[left]}, ${100 - share} % ${group.columns[right]}`);
  }
  function show() {
    const shown = group.pictures[picture];
    stage.style.aspectRatio = `${shown.width} / ${shown.height}`;
    // Large on a desktop, whole on a phone, and never so tall that its ends are out of sight.
    stage.style.maxWidth = `min(100%, ${Math.max(2 * shown.width, 420)}px, calc(74vh * ${shown.width / shown.height}))`;
    stage.classList.toggle("pixelated", shown.pixelated);
    before.src = sourceOf(shown.sources[left]);
    after.src = sourceOf(shown.sources[right]);
    before.alt = `${group.title}, picture ${picture + 1}: ${group.columns[left]}`;
    after.alt = `${group.title}, picture ${picture + 1}: ${group.columns[right]}`;
    leftTag.textContent = group.columns[left];
    rightTag.textContent = group.columns[right];
    range.setAttribute("aria-label", `How much of "${group.columns[left]}" is shown over "${group.columns[right]}"`);
    caption.textContent = group.caption || `${group.title} at step ${whole(group.step)}. Drag, or use the arrow keys.`;
    strip.querySelectorAll("button").forEach((button, index) => button.setAttribute("aria-pressed", String(index === picture)));
    cut();
  }
  function pick(title, chosen, act) {
    const select = element("select", {}, ...group.columns.map((name, index) => element("option", { value: index }, name)));
    select.value = chosen;
    select.addEventListener("change", () => { act(Number(select.value)); show(); });
    return element("label", {}, `${title} `, select);
  }
  function open(index) {
    group = groups[index];
    [picture, left, right] = [0, group.left, group.right];
    strip.replaceChildren(...(group.pictures.length < 2 ? [] : group.pictures.map((shown, index) => {
      const small = element("img", { src: sourceOf(shown.sources[left]), alt: "", loading: "lazy" });
      const button = element("button", { type: "button", "aria-label": `Show picture ${index + 1}` }, small);
      button.addEventListener("click", () => { picture = index; show(); });
      return button;
    })));
    controls.replaceChildren();
    if (groups.length > 1) controls.append(choice("What is compared", groups.map((one) => one.title), index, open));
    if (group.columns.length > 2) controls.append(pick("Left", left, (value) => { left = value; }), pick("Right", right, (value) => { right = value; }));
    show();
  }

  function follow(event) {
    const box = stage.getBoundingClientRect();
    range.value = Math.round(100 * Math.max(0, Math.min(1, (event.clientX - box.left) / box.width)));
    cut();
  }
  stage.addEventListener("pointerdown", (event) => {
    if (event.button !== 0) return;
    stage.setPointerCapture(event.pointerId);
    follow(event);
    range.focus({ preventScroll: true });
    event.preventDefault();
  });
  stage.addEventListener("pointermove", (event) => { if (stage.hasPointerCapture(event.pointerId)) follow(event); });
  range.addEventListener("input", cut);

  const card = element("div", { class: "card before-after" }, controls, stage, strip, caption);
  open(0);
  return card;
}
if (data.compare.length) {
  reveal("compare");
  document.getElementById("compare").append(beforeAfter(data.compare));
}
