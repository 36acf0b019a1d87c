// Compares the fixed image with a stage of the moving one. Without this script the page shows all views side by side.
(() => {
  "use strict";
  const BLINK_MILLISECONDS = 700;
  const viewer = document.querySelector(".viewer");
  if (!viewer) return; // nothing to compare
  const slider = viewer.querySelector("input[type=range]");
  const tiles = [...viewer.querySelectorAll("svg.tile")];
  let blinking = 0;

  const chosen = (name) => viewer.querySelector(`input[name="${name}"]:checked`);

  function place(tile, share, mode) {
    const box = tile.viewBox.baseVal;
    const second = tile.querySelector(".second");
    const divider = tile.querySelector(".divider");
    const x = box.x + box.width * share;
    second.querySelector("use").setAttribute("href", `#${chosen("stage").value}-${second.dataset.plane}`);
    if (mode === "wipe") {
      tile.querySelector("clipPath rect").setAttribute("x", x);
      second.setAttribute("clip-path", `url(#wipe-${second.dataset.plane})`);
      second.style.opacity = 1;
    } else {
      second.removeAttribute("clip-path");
      second.style.opacity = share;
    }
    divider.setAttribute("x1", x);
    divider.setAttribute("x2", x);
    divider.style.display = mode === "wipe" ? "" : "none";
  }

  function show() {
    const mode = chosen("mode").value;
    const share = slider.value / 100;
    tiles.forEach((tile) => place(tile, share, mode));
    viewer.querySelector(".second-name").textContent = chosen("stage").dataset.label;
    viewer.classList.toggle("blinks", mode === "blink");
  }

  function choose() {
    clearInterval(blinking);
    slider.value = chosen("mode").value === "blink" ? 0 : 50;
    if (chosen("mode").value === "blink") {
      blinking = setInterval(() => {
        slider.value = slider.value > 50 ? 0 : 100;
        show();
      }, BLINK_MILLISECONDS);
    }
    show();
  }

  function drag(event) {
    if (event.buttons !== 1 || chosen("mode").value === "blink") return;
    const box = event.currentTarget.getBoundingClientRect();
    slider.value = (100 * (event.clientX - box.left)) / box.width;
    show();
  }

  slider.addEventListener("input", show);
  viewer.querySelectorAll('input[name="stage"]').forEach((input) => input.addEventListener("change", show));
  viewer.querySelectorAll('input[name="mode"]').forEach((input) => input.addEventListener("change", choose));
  tiles.forEach((tile) => {
    tile.addEventListener("pointerdown", drag);
    tile.addEventListener("pointermove", drag);
  });
  viewer.hidden = false;
  show();
})();
