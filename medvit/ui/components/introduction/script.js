const KEY = "medvit-introduction";
const section = element.querySelector("section");
const steps = [...section.querySelectorAll("p")];
const next = section.querySelector(".next");
const target = (step) => document.querySelector(steps[step]?.dataset.target);
let current = -1;

// Storage may be denied: the introduction is then shown on every visit.
function remembered() {
  try { return localStorage.getItem(KEY) !== null; } catch { return false; }
}

function go(step) {
  target(current)?.classList.remove("introduced");
  current = step;
  section.hidden = step >= steps.length;
  if (section.hidden) {
    try { localStorage.setItem(KEY, "done"); } catch { /* see above */ }
    return;
  }
  steps.forEach((text, i) => { text.hidden = i !== step; });
  next.textContent = step === steps.length - 1 ? "Done" : "Next";
  target(step)?.classList.add("introduced");
}

next.addEventListener("click", () => {
  go(current + 1);
  const part = target(current);
  const box = part?.getBoundingClientRect();
  if (box && (box.top < 0 || box.bottom > innerHeight)) part.scrollIntoView({ block: "center" });
});
section.querySelector(".close").addEventListener("click", () => go(steps.length));
section.addEventListener("keydown", (event) => { if (event.key === "Escape") go(steps.length); });
// While another tab is open, there is nothing to introduce: the parts of the screen have no size then.
const observer = new ResizeObserver(() => section.classList.toggle("elsewhere", !target(0)?.offsetParent));

// The parts of the screen are drawn later than this, or when their tab is opened.
function start() {
  if (!target(0)?.offsetParent) return setTimeout(start, 200);
  go(0);
  observer.observe(target(0));
}
if (!remembered()) start();
