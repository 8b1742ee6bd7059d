// A stand-in for Grafana's state timeline, which is in none of its packages: the same data, values, texts and colours.
import { AXIS, TimeAxis, names, scale } from './axis.jsx';

export function Timeline({ panel, frames, width, height, range, theme }) {
  const [rows, left] = names(frames);
  const x = scale(range, left, width - 8);
  const each = (height - AXIS) / rows.length;
  const thick = each * panel.options.rowHeight;
  return (
    <svg width={width} height={height} fontFamily={theme.typography.fontFamily}>
      {rows.map(({ frame, field, name }, i) => (
        <g key={i} transform={`translate(0, ${i * each})`}>
          <text x={left - 8} y={each / 2 + 4} textAnchor="end" fontSize={12} fill={theme.colors.text.primary}>
            {name}
          </text>
          {spans(frame, field).map(({ from, to, value }) => (
            <Span key={from} {...{ value, field, theme, thick }} from={x(from)} to={x(to)} top={(each - thick) / 2} />
          ))}
        </g>
      ))}
      <TimeAxis {...{ range, left, theme }} right={width - 8} top={rows.length * each} />
    </svg>
  );
}

function Span({ value, field, theme, thick, from, to, top }) {
  const { text, color } = field.display(value);
  return (
    <g>
      <rect x={from} y={top} width={Math.max(1, to - from)} height={thick} fill={color} fillOpacity={0.9} />
      {text.trim() && to - from > text.length * 7 + 8 && (
        <text x={from + 6} y={top + thick / 2 + 4} fontSize={12} fill={theme.colors.getContrastText(color)}>
          {text}
        </text>
      )}
    </g>
  );
}

/** Equal values after one another, as one; a missing point ends them. */
function spans(frame, field) {
  const times = frame.fields[0].values;
  const step = frame.fields[0].config.interval;
  const out = [];
  field.values.forEach((value, i) => {
    const last = out.at(-1);
    if (last && last.value === value && times[i] - last.to < step * 1.5) {
      last.to = times[i];
    } else {
      if (last && times[i] - last.to < step * 1.5) {
        last.to = times[i];
      }
      out.push({ from: times[i], to: times[i] + step / 2, value });
    }
  });
  return out;
}
