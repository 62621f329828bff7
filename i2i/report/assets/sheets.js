// ---- sample sheets: one scrubber through time for each name ----
function sheetCard(group, title) {
  const frames = group.frames, last = frames.length - 1;
  const output = element("output", { "aria-live": "off" });
  const image = element("img");
  const button = element("button", { class: "picture", type: "button", "aria-label": `Show ${title} at full size` }, image);
  const slider = element("input", { type: "range", min: 0, max: last, step: 1, value: last, "aria-label": `Training step of the ${title} samples` });
  const play = element("button", { type: "button", "aria-label": `Play the ${title} samples over time` }, "Play");
  let timer = 0;
  function show(index) {
    const frame = frames[index];
    image.src = frame.url;
    image.width = frame.width;
    image.height = frame.height;
    image.alt = `${title}, sample sheet at step ${whole(frame.step)}`;
    output.textContent = `Step ${whole(frame.step)}` + (index === last ? " · newest" : "");
    slider.value = index;
    slider.setAttribute("aria-valuetext", output.textContent);
  }
  function stop() { clearInterval(timer); timer = 0; play.textContent = "Play"; }
  slider.addEventListener("input", () => { stop(); show(Number(slider.value)); });
  play.addEventListener("click", () => {
    if (timer) return stop();
    let index = Number(slider.value) === last ? 0 : Number(slider.value);
    show(index);
    play.textContent = "Pause";
    timer = setInterval(() => { index += 1; show(index); if (index === last) stop(); }, 450);
  });
  button.addEventListener("click", () => enlarge(image));
  show(last);
  const card = element("div", { class: "card sheet" }, element("div", { class: "sheet-head" }, element("h3", {}, title), output), button);
  if (last > 0) card.append(element("div", { class: "scrub" }, slider, play));
  return card;
}

// The same latents over time: an animation that can be held, and a film that needs no motion at all.
function overTimeCards(name, title, parts) {
  const span = (list) => `Steps ${whole(list[0])} to ${whole(list.at(-1))}`;
  const cards = [];
  if (parts.animation) {
    const { url, width, height } = parts.animation;
    const image = element("img", { width, height });
    const frame = element("div", { class: "picture moving" }, image);
    const hold = element("button", { type: "button" });
    // A held animation shows the newest frame of the slider's pictures: browsers cannot stop a moving picture.
    const newest = data.sheets.find((group) => group.name === name)?.frames.at(-1);
    let moving = !matchMedia("(prefers-reduced-motion: reduce)").matches || !newest;
    const show = () => {
      image.src = moving ? url : newest.url;
      image.alt = moving ? `${title}, the same latents over time, animated` : `${title}, the newest pictures`;
      hold.textContent = moving ? "Hold" : "Play";
    };
    hold.addEventListener("click", () => { moving = !moving; show(); });
    hold.setAttribute("aria-label", `Hold or play the animation of ${title}`);
    show();
    const controls = element("div", { class: "scrub" }, element("a", { href: url, download: `${name}.webp` }, "Save the animation"));
    if (newest) controls.append(hold);
    cards.push(element("div", { class: "card sheet" },
      element("div", { class: "sheet-head" }, element("h3", {}, `${title} over time`), element("output", {}, span(parts.animation.steps))), frame, controls));
  }
  if (parts.film) {
    const { url, width, height } = parts.film;
    const image = element("img", { src: url, width, height, alt: `${title}, the first latents at steps ${parts.film.steps.map(whole).join(", ")}, one row a step` });
    const button = element("button", { class: "picture", type: "button", "aria-label": `Show the film of ${title} at full size` }, image);
    button.addEventListener("click", () => enlarge(image));
    cards.push(element("div", { class: "card sheet film" },
      element("div", { class: "sheet-head" }, element("h3", {}, `${title}: one latent a column, one step a row`), element("output", {}, span(parts.film.steps))), button));
  }
  return cards;
}
if (data.sheets.length) {
  reveal("samples");
  const places = new Map();
  for (const group of data.sheets) {
    // Of several runs, the sheets of one name stand together; a run has one group for all.
    const together = group.of || "";
    if (!places.has(together)) places.set(together, element("div", { class: "sheets" }));
    const place = places.get(together);
    place.append(sheetCard(group, group.title));
    if (data.overTime[group.name]) place.append(...overTimeCards(group.name, group.title, data.overTime[group.name]));
  }
  document.getElementById("samples").append(...places.values());
}
