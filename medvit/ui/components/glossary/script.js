// One box for the whole page, in the browser's top layer, where nothing clips or covers it.
const names = JSON.parse(props.names);
const tip = () => element.querySelector(".tip");
let timer;
let shown; // the element that the box belongs to

// The element that a term stands in, and the id of its entry; null where there is none.
function entryAt(target) {
  const term = target.closest(".term");
  if (term) return [term, term.getAttribute("aria-describedby")];
  const label = target.closest("label, [data-testid='block-info']")
    || target.closest(".block")?.querySelector("[data-testid='block-info']");
  const id = label && names[label.textContent.replace("✓", "").trim().toLowerCase()];
  return id ? [label, id] : null;
}

function hide() {
  clearTimeout(timer);
  if (tip()?.matches(":popover-open")) tip().hidePopover();
}

function place(anchor) {
  const box = tip();
  const at = anchor.getBoundingClientRect();
  const above = at.top - box.offsetHeight - 6;
  box.style.top = `${above >= 4 ? above : at.bottom + 6}px`;
  box.style.left = `${Math.max(8, Math.min(at.left, document.documentElement.clientWidth - box.offsetWidth - 8))}px`;
}

function show([anchor, id]) {
  clearTimeout(timer);
  const entry = document.getElementById(id);
  if (!entry || !anchor.isConnected) return;
  const box = tip();
  const title = document.createElement("b");
  title.textContent = entry.dataset.title || "";
  box.replaceChildren(title, entry.textContent);
  box.showPopover();
  shown = anchor;
  place(anchor);
}

function later(action, delay) {
  clearTimeout(timer);
  timer = setTimeout(action, delay);
}

document.addEventListener("pointerover", (event) => {
  if (event.pointerType === "touch") return;
  if (event.target.closest(".tip")) return clearTimeout(timer); // the text in the box can be selected
  // The label itself, not the control that belongs to it.
  const entry = event.target.closest(".term, label, [data-testid='block-info']") && entryAt(event.target);
  if (entry) later(() => show(entry), 200); else later(hide, 200);
});
document.addEventListener("focusin", (event) => {
  const entry = event.target.matches(":focus-visible") && entryAt(event.target);
  if (!entry) return hide();
  if (!event.target.hasAttribute("aria-describedby")) event.target.setAttribute("aria-describedby", entry[1]);
  show(entry);
});
document.addEventListener("focusout", hide);
document.addEventListener("click", (event) => {
  if (event.target.closest(".tip")) return;
  const entry = event.target.closest(".term") || event.pointerType === "touch" ? entryAt(event.target) : null;
  if (entry) show(entry); else hide();
});
document.addEventListener("keydown", (event) => { if (event.key === "Escape") hide(); });
document.addEventListener("scroll", () => {
  if (tip()?.matches(":popover-open")) place(shown);
}, { passive: true, capture: true });
