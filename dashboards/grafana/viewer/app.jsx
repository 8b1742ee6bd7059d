// Draws `window.lockgate`, which `page.py` sets, and says `window.drawn` when it has.
import '@fontsource-variable/inter/index.css';
import 'uplot/dist/uPlot.min.css';
import './app.css';
import { ThemeContext, createTheme, dateTime } from '@grafana/data';
import { GlobalStyles, PanelChrome, PortalContainer } from '@grafana/ui';
import { createRoot } from 'react-dom/client';
import { panelFrames } from './frames.js';
import { Content } from './panels.jsx';

const UNIT = 30; // Grafana's grid: 30 pixels high and 8 between
const GAP = 8;

function App({ page, panels, theme }) {
  const range = { from: dateTime(page.from * 1000), to: dateTime(page.to * 1000), raw: page.raw };
  const column = (page.width - 2 * GAP + GAP) / 24;
  const bottom = Math.max(...panels.map(({ panel: { gridPos } }) => gridPos.y + gridPos.h));
  return (
    <div style={{ width: page.width, background: theme.colors.background.canvas }}>
      <GlobalStyles />
      <Top page={page} />
      <div style={{ position: 'relative', height: bottom * (UNIT + GAP) + GAP }}>
        {panels.map(({ panel, frames }, i) => {
          const { x, y, w, h } = panel.gridPos;
          const box = { left: GAP + x * column, top: y * (UNIT + GAP), width: w * column - GAP, height: h * (UNIT + GAP) - GAP };
          return (
            <div key={i} style={{ position: 'absolute', ...box }}>
              {panel.type === 'row' ? (
                <div className="row">
                  ❯ {panel.title} <i>({panel.panels.length} panel)</i>
                </div>
              ) : (
                <PanelChrome title={panel.title} width={box.width} height={box.height}>
                  {(width, height) => (
                    <Content {...{ panel, frames, width, height, range, theme }} marks={page.marks} />
                  )}
                </PanelChrome>
              )}
            </div>
          );
        })}
      </div>
      <PortalContainer />
    </div>
  );
}

function Top({ page }) {
  return (
    <div className="top">
      <b>{page.title}</b>
      {page.choices.map(([label, value]) => (
        <span key={label}>
          <label>{label}</label>
          <em>{value}</em>
        </span>
      ))}
      <span className="links">
        {page.marked.map(([name, color]) => (
          <label key={name}>
            <i style={{ background: color }} /> {name}
          </label>
        ))}
        {page.links.map((title) => (
          <a key={title}>{title}</a>
        ))}
      </span>
    </div>
  );
}

async function main() {
  const { page, panels } = window.lockgate;
  const theme = createTheme({ colors: { mode: page.mode }, typography: { fontFamily: "'Inter Variable', sans-serif" } });
  const drawn = await Promise.all(
    panels.map(async ({ panel, answers }) => ({
      panel,
      frames: panel.type === 'row' ? [] : await panelFrames(panel, answers, theme),
    }))
  );
  document.documentElement.dataset.mode = page.mode;
  createRoot(document.getElementById('app')).render(
    <ThemeContext.Provider value={theme}>
      <App page={page} panels={drawn} theme={theme} />
    </ThemeContext.Provider>
  );
  await document.fonts.ready;
  setTimeout(() => (window.drawn = true), 1500);
}

main().catch((reason) => {
  window.failed = `${reason?.stack ?? reason}`;
});
