"use strict";
// In the head, so that the page is never seen in the other colours first.
const darkSystem = matchMedia("(prefers-color-scheme: dark)");
let wantedTheme = "auto";
function applyTheme() {
  const dark = wantedTheme === "auto" ? darkSystem.matches : wantedTheme === "dark";
  document.documentElement.dataset.theme = dark ? "dark" : "light";
}
darkSystem.addEventListener("change", applyTheme);
applyTheme();
document.addEventListener("DOMContentLoaded", () => {
  const choice = document.querySelector(".theme");
  choice.hidden = false;
  choice.addEventListener("change", (event) => { wantedTheme = event.target.value; applyTheme(); });
});
