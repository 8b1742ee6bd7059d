// What Lockgate's dashboards may hold, said in Grafana's own types: `... grafana.viewer schema` makes a JSON schema of it.
// Grafana leaves a panel's options open (`Record<string, unknown>`); here each kind of panel has those of its plugin.
import * as dash from '@grafana/schema/dist/types/raw/dashboard/x/types.gen';
import * as bargauge from '@grafana/schema/dist/types/raw/composable/bargauge/panelcfg/x/types.gen';
import * as heatmap from '@grafana/schema/dist/types/raw/composable/heatmap/panelcfg/x/types.gen';
import * as stat from '@grafana/schema/dist/types/raw/composable/stat/panelcfg/x/types.gen';
import * as statetimeline from '@grafana/schema/dist/types/raw/composable/statetimeline/panelcfg/x/types.gen';
import * as table from '@grafana/schema/dist/types/raw/composable/table/panelcfg/x/types.gen';
import * as timeseries from '@grafana/schema/dist/types/raw/composable/timeseries/panelcfg/x/types.gen';

/** A query to the Prometheus data source, whose types are not in the package. */
interface Query {
  datasource: dash.DataSourceRef;
  refId: string;
  expr: string;
  editorMode: 'code';
  format: 'time_series' | 'table' | 'heatmap';
  instant: boolean;
  range: boolean;
  legendFormat?: string;
}

/** What the Prometheus data source adds to an annotation. */
interface Mark extends Omit<dash.AnnotationQuery, 'target'> {
  target: { refId: string; expr: string };
  titleFormat: string;
  textFormat: string;
  tagKeys: string;
  useValueForTime: boolean;
}

type Config<C> = Omit<dash.FieldConfigSource, 'defaults'> & {
  defaults: Omit<dash.FieldConfig, 'custom'> & { custom?: Partial<C> };
};

interface Of<T extends string, O, C> extends Omit<dash.Panel, 'type' | 'options' | 'fieldConfig' | 'targets'> {
  type: T;
  title: string;
  description: string;
  gridPos: dash.GridPos;
  options: O;
  fieldConfig: Config<C>;
  targets: Query[];
}

type Drawn =
  | Of<'bargauge', bargauge.Options, Record<string, never>>
  | Of<'heatmap', heatmap.Options, heatmap.FieldConfig>
  | Of<'stat', stat.Options, Record<string, never>>
  | Of<'state-timeline', statetimeline.Options, statetimeline.FieldConfig>
  | Of<'table', table.Options, table.FieldConfig>
  | Of<'timeseries', timeseries.Options, timeseries.FieldConfig>;

export interface Lockgate extends Omit<dash.Dashboard, 'panels' | 'annotations'> {
  annotations: { list: Mark[] };
  /** What is folded in a row is checked as if it were not. */
  panels: (Drawn | dash.RowPanel)[];
}
