// Light or dark: as the system has it, until somebody chooses.

function remembered() {
  try {
    return localStorage.getItem("tsdiff-theme");
  } catch {
    return null; // a page from a file may have no memory
  }
}

function themeButton(button) {
  const system = matchMedia("(prefers-color-scheme: dark)");
  const current = () =>
    document.documentElement.dataset.theme ?? (system.matches ? "dark" : "light");
  const show = () => {
    const next = current() === "dark" ? "light" : "dark";
    button.textContent = next === "dark" ? "Dark" : "Light";
    button.setAttribute("aria-label", `Switch to ${next} colours`);
  };
  const kept = remembered();
  if (kept === "light" || kept === "dark") document.documentElement.dataset.theme = kept;
  button.hidden = false;
  button.addEventListener("click", () => {
    const theme = current() === "dark" ? "light" : "dark";
    document.documentElement.dataset.theme = theme;
    try {
      localStorage.setItem("tsdiff-theme", theme);
    } catch {
      // then it holds until the page is left
    }
    show();
  });
  system.addEventListener("change", show);
  show();
}
