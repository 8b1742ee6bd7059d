// A stand-in for Grafana's heat map, which is in none of its packages: the same cells and the same scheme of colours.
import * as schemes from 'd3-scale-chromatic';
import { formattedValueToString, getFieldDisplayName, getValueFormat } from '@grafana/data';
import { AXIS, TimeAxis, scale } from './axis.jsx';

export function Heat({ panel, frames, width, height, range, theme }) {
  const { color, yAxis, cellGap } = panel.options;
  const byBucket = panel.targets[0].format === 'heatmap';
  const rows = frames.map((frame) => ({ frame, field: frame.fields[1], ...label(frame, byBucket, yAxis?.unit, frames) }));
  const shown = byBucket ? worthwhile(rows) : rows;
  const left = Math.max(30, ...shown.map(({ text }) => text.length * 7)) + 12;
  const most = Math.max(...shown.flatMap(({ field }) => field.values.filter(Number.isFinite)), 1e-9);
  const paint = (value) => schemes[`interpolate${color.scheme}`]((value / most) ** (color.exponent ?? 1));
  const x = scale(range, left, width - 8);
  const each = (height - AXIS - LEGEND - TOP) / shown.length;
  return (
    <svg width={width} height={height} fontFamily={theme.typography.fontFamily}>
      {shown.map(({ frame, field, text }, i) => {
        const y = TOP + (byBucket ? shown.length - 1 - i : i) * each;
        const step = frame.fields[0].config.interval;
        return (
          <g key={i}>
            <text x={left - 8} y={byBucket ? y + 4 : y + each / 2 + 4} textAnchor="end" fontSize={12} fill={theme.colors.text.primary}>
              {text}
            </text>
            {field.values.map((value, j) =>
              value > 0 || !byBucket ? (
                <rect
                  key={j}
                  x={Math.max(left, x(frame.fields[0].values[j] - step))}
                  y={y}
                  width={Math.max(0.5, x(step) - x(0) - cellGap)}
                  height={Math.max(0.5, each - cellGap)}
                  fill={paint(value)}
                />
              ) : null
            )}
          </g>
        );
      })}
      <TimeAxis {...{ range, left, theme }} right={width - 8} top={TOP + shown.length * each} />
      <Scale {...{ most, paint, theme, left }} top={height - LEGEND + 6} />
    </svg>
  );
}

const LEGEND = 24;
const TOP = 8;
const WIDE = 160;

function Scale({ most, paint, theme, left, top }) {
  const text = (value) => formattedValueToString(getValueFormat('short')(value, value < 10 ? 2 : 0));
  return (
    <g fontSize={11} fill={theme.colors.text.secondary}>
      {Array.from({ length: 32 }, (_, i) => (
        <rect key={i} x={left + (i * WIDE) / 32} y={top} width={WIDE / 32 + 0.5} height={8} fill={paint((most * i) / 31)} />
      ))}
      <text x={left + WIDE + 6} y={top + 8}>
        {text(most)}
      </text>
      <text x={left - 6} y={top + 8} textAnchor="end">
        0
      </text>
    </g>
  );
}

/** At the upper edge of a bucket stands what it holds at most. */
function label(frame, byBucket, unit, frames) {
  if (!byBucket) {
    return { text: getFieldDisplayName(frame.fields[1], frame, frames) };
  }
  const { le } = frame.fields[1].labels;
  return { text: le === '+Inf' ? le : formattedValueToString(getValueFormat(unit)(Number(le))) };
}

/** From the first to the last bucket that anything is in, and one beside. */
function worthwhile(rows) {
  const used = rows.map(({ field }) => field.values.some((value) => value > 0));
  return rows.slice(Math.max(0, used.indexOf(true) - 1), used.lastIndexOf(true) + 2);
}
