() => {
  // A step of the study in another tab of the browser: what this one displays is old, and its next step would
  // overwrite the answers of the other. It is loaded again as soon as the study is looked at here.
  const flags = document.body.dataset;
  addEventListener("storage", (event) => {
    if (event.key !== "medvit-reader-place") return;
    if (event.newValue !== (document.querySelector("#reader-case .screen")?.dataset.key ?? "")) flags.readerStale = "";
    else delete flags.readerStale;
  });
  setInterval(() => {
    const displayed = [...document.querySelectorAll("#reader-setup, #reader-case, #reader-result")];
    if ("readerStale" in flags && !document.hidden && displayed.some((part) => part.checkVisibility())) location.reload();
  }, 300);
}
