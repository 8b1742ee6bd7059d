// Panels of Grafana's own components. Grafana's kinds of panels are not in its packages, its components are.
import { getDisplayValueAlignmentFactors, getFieldDisplayValues } from '@grafana/data';
import { BarGauge, BigValue, TimeSeries, VizRepeater } from '@grafana/ui';
import { TableNG } from '@grafana/ui/unstable';
import { Heat } from './heat.jsx';
import { Timeline } from './timeline.jsx';

const KINDS = {
  timeseries: Graph,
  stat: Stat,
  bargauge: Bars,
  table: Listing,
  heatmap: Heat,
  'state-timeline': Timeline,
};

// What Grafana's kind of panel takes where the dashboard says nothing.
const PLAIN = { axisPlacement: 'auto', lineInterpolation: 'linear', spanNulls: false, scaleDistribution: { type: 'linear' } };

export function Content(props) {
  const Kind = KINDS[props.panel.type];
  const empty = !props.frames.length || props.frames.every((frame) => !frame.length);
  if (empty && props.panel.type !== 'stat') {
    return <div className="nothing">{props.panel.fieldConfig.defaults.noValue ?? 'No data'}</div>;
  }
  return <Kind {...props} />;
}

function Graph({ panel, frames, width, height, range, marks }) {
  const shown = frames.map((frame) => ({
    ...frame,
    fields: frame.fields.map((field) => ({
      ...field,
      config: { ...field.config, custom: { ...PLAIN, ...field.config.custom } },
    })),
  }));
  return (
    <TimeSeries
      frames={shown}
      width={width}
      height={height}
      timeRange={range}
      timeZone="browser"
      legend={panel.options.legend}
    >
      {(builder) => {
        builder.addHook('draw', (plot) => draw(plot, marks));
        return <></>;
      }}
    </TimeSeries>
  );
}

/** Annotations: dashed, with a foot, as Grafana draws them. */
function draw(plot, marks) {
  const { ctx, bbox } = plot;
  ctx.save();
  for (const { time, color } of marks) {
    const x = Math.round(plot.valToPos(time, 'x', true));
    if (x < bbox.left || x > bbox.left + bbox.width) {
      continue;
    }
    ctx.strokeStyle = ctx.fillStyle = color;
    ctx.lineWidth = 2;
    ctx.setLineDash([5, 5]);
    ctx.beginPath();
    ctx.moveTo(x, bbox.top);
    ctx.lineTo(x, bbox.top + bbox.height);
    ctx.stroke();
    ctx.beginPath();
    ctx.moveTo(x - 6, bbox.top + bbox.height + 6);
    ctx.lineTo(x + 6, bbox.top + bbox.height + 6);
    ctx.lineTo(x, bbox.top + bbox.height - 2);
    ctx.fill();
  }
  ctx.restore();
}

function displayed({ panel, frames, theme }) {
  return getFieldDisplayValues({
    fieldConfig: panel.fieldConfig,
    reduceOptions: panel.options.reduceOptions,
    replaceVariables: (text) => text,
    data: frames,
    theme,
    timeZone: 'browser',
  });
}

function Stat(props) {
  const { panel, width, height, theme } = props;
  const values = displayed(props);
  return (
    <VizRepeater
      getValues={() => values}
      getAlignmentFactors={getDisplayValueAlignmentFactors}
      renderValue={({ value, width, height, alignmentFactors, count }) => (
        <BigValue
          value={value.display}
          count={count}
          width={width}
          height={height}
          theme={theme}
          colorMode={panel.options.colorMode}
          graphMode={panel.options.graphMode}
          justifyMode={panel.options.justifyMode}
          textMode={panel.options.textMode}
          text={panel.options.text}
          alignmentFactors={alignmentFactors}
        />
      )}
      source={values}
      width={width}
      height={height}
      itemSpacing={3}
      renderCounter={0}
      autoGrid
      orientation={panel.options.orientation}
    />
  );
}

function Bars(props) {
  const { panel, width, height, theme } = props;
  const values = displayed(props);
  const { orientation, displayMode, valueMode, namePlacement, showUnfilled } = panel.options;
  return (
    <VizRepeater
      getValues={() => values}
      getAlignmentFactors={getDisplayValueAlignmentFactors}
      renderValue={({ value, width, height, alignmentFactors, orientation, count }) => (
        <BarGauge
          value={value.display}
          width={width}
          height={height}
          theme={theme}
          orientation={orientation}
          field={value.field}
          display={value.view?.getFieldDisplayProcessor(value.colIndex)}
          alignmentFactors={alignmentFactors}
          displayMode={displayMode}
          valueDisplayMode={valueMode}
          text={panel.options.text}
          namePlacement={namePlacement}
          showUnfilled={showUnfilled}
          itemSpacing={8}
        />
      )}
      source={values}
      width={width}
      height={height}
      minVizHeight={panel.options.minVizHeight}
      maxVizHeight={panel.options.maxVizHeight}
      minVizWidth={panel.options.minVizWidth}
      renderCounter={0}
      itemSpacing={6}
      orientation={orientation}
    />
  );
}

function Listing({ panel, frames, width, height, range }) {
  return (
    <TableNG
      data={frames[0]}
      width={width}
      height={height}
      timeRange={range}
      cellHeight={panel.options.cellHeight}
      sortBy={panel.options.sortBy}
      fieldConfig={panel.fieldConfig}
      enableVirtualization={false}
      transparent={panel.transparent}
    />
  );
}

