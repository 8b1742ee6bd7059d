// Prometheus's answers as Grafana's data frames, with the panel's transformations and field options applied.
import {
  FieldType,
  Registry,
  applyFieldOverrides,
  cacheFieldDisplayNames,
  standardTransformers,
  standardTransformersRegistry,
  toDataFrame,
  transformDataFrame,
} from '@grafana/data';
import { firstValueFrom } from 'rxjs';

standardTransformersRegistry.setInit(() =>
  [standardTransformers.mergeTransformer, standardTransformers.organizeFieldsTransformer].map((of) => ({
    id: of.id,
    name: of.name,
    transformation: () => Promise.resolve(of),
  }))
);

const STANDARD = 'unit decimals min max displayName noValue color thresholds mappings links'.split(' ');

/** Frames of one panel: `answers` are `{target, step, result}`, one for each query. */
export async function panelFrames(panel, answers, theme) {
  const frames = answers.flatMap((answer) => asFrames(answer, answers.length > 1));
  const changed = panel.transformations?.length
    ? await firstValueFrom(transformDataFrame(panel.transformations, frames, { interpolate: (text) => text }))
    : frames;
  const out = applyFieldOverrides({
    data: changed,
    fieldConfig: panel.fieldConfig,
    fieldConfigRegistry: registry(panel.fieldConfig),
    replaceVariables: (text) => text,
    theme,
    timeZone: 'browser',
  });
  cacheFieldDisplayNames(out);
  return out;
}

function asFrames({ target, step, result }, several) {
  if (target.format === 'table') {
    return [tableFrame(target, result, several)];
  }
  const frames = result.map(({ metric, values, value }) => {
    const points = values ?? [value];
    const labels = target.legendFormat ? metric : { ...metric };
    return toDataFrame({
      refId: target.refId,
      fields: [
        { name: 'Time', type: FieldType.time, values: points.map(([at]) => at * 1000), config: { interval: step * 1000 } },
        {
          name: 'Value',
          type: FieldType.number,
          labels,
          values: points.map(([, text]) => number(text)),
          config: { displayNameFromDS: legend(target, metric) },
        },
      ],
    });
  });
  return target.format === 'heatmap' ? perBucket(frames) : frames;
}

/** Of 0 requests no quantile is known: Prometheus says NaN, and nothing is drawn. */
function number(text) {
  return text === 'NaN' ? null : Number(text);
}

function legend({ legendFormat, expr }, metric) {
  return legendFormat?.replace(/{{\s*(.+?)\s*}}/g, (_, label) => metric[label] ?? '') || expr;
}

/** Cumulative counts by `le` as counts of each bucket, as the Prometheus data source does. */
function perBucket(frames) {
  const edge = (frame) => Number(frame.fields[1].labels.le.replace('+Inf', 'Infinity'));
  const sorted = [...frames].sort((a, b) => edge(a) - edge(b));
  const at = sorted.map((frame) => new Map(frame.fields[0].values.map((time, i) => [time, frame.fields[1].values[i]])));
  return sorted.map((frame, i) => ({
    ...frame,
    fields: [
      frame.fields[0],
      {
        ...frame.fields[1],
        values: frame.fields[0].values.map((time) => Math.max(0, at[i].get(time) - (at[i - 1]?.get(time) ?? 0))),
      },
    ],
  }));
}

function tableFrame(target, result, several) {
  const labels = [...new Set(result.flatMap(({ metric }) => Object.keys(metric)))].sort();
  return toDataFrame({
    refId: target.refId,
    fields: [
      { name: 'Time', type: FieldType.time, values: result.map(({ value }) => value[0] * 1000) },
      ...labels.map((name) => ({ name, type: FieldType.string, values: result.map(({ metric }) => metric[name]) })),
      {
        name: several ? `Value #${target.refId}` : 'Value',
        type: FieldType.number,
        values: result.map(({ value }) => number(value[1])),
      },
    ],
  });
}

/** Every option that the panel sets, so that overrides find it: Grafana's panels register theirs in the same way. */
function registry({ defaults, overrides }) {
  const custom = new Set([
    ...Object.keys(defaults.custom ?? {}).map((name) => `custom.${name}`),
    ...overrides.flatMap(({ properties }) => properties.map(({ id }) => id)).filter((id) => id.startsWith('custom.')),
  ]);
  const item = (id, path, isCustom) => ({
    id,
    path,
    name: id,
    isCustom,
    process: (value) => value,
    shouldApply: () => true,
  });
  return new Registry(() => [
    ...STANDARD.map((id) => item(id, id, false)),
    ...[...custom].map((id) => item(id, id.slice('custom.'.length), true)),
  ]);
}
