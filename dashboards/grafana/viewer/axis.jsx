// A time axis for the two kinds of panels that are drawn here.
import { dateTimeFormat, getFieldDisplayName } from '@grafana/data';

const STEPS = [1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10800, 21600, 43200, 86400];
export const AXIS = 22;

export function scale(range, left, right) {
  const [from, to] = [range.from.valueOf(), range.to.valueOf()];
  return (time) => left + ((time - from) / (to - from)) * (right - left);
}

export function TimeAxis({ range, left, right, top, theme }) {
  const [from, to] = [range.from.valueOf() / 1000, range.to.valueOf() / 1000];
  const step = STEPS.find((seconds) => ((right - left) / (to - from)) * seconds > 70) ?? STEPS.at(-1);
  const x = scale(range, left, right);
  const ticks = [];
  for (let at = Math.ceil(from / step) * step; at < to; at += step) {
    ticks.push(at * 1000);
  }
  return ticks.map((at) => (
    <text key={at} x={x(at)} y={top + 15} textAnchor="middle" fontSize={12} fill={theme.colors.text.secondary}>
      {dateTimeFormat(at, { format: step < 60 ? 'HH:mm:ss' : 'HH:mm' })}
    </text>
  ));
}

/** Names at the left of rows, and how wide they are. */
export function names(frames) {
  const rows = frames.flatMap((frame) =>
    frame.fields.filter(({ name }) => name !== 'Time').map((field) => ({ frame, field, name: getFieldDisplayName(field, frame, frames) }))
  );
  const width = Math.max(40, ...rows.map(({ name }) => name.length * 7)) + 12;
  return [rows, width];
}
