import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { packageRoot } from '../../src/package-root.ts';

/** A panel of the Grafana dashboard. */
export interface Panel {
  title: string;
  type: string;
  description: string;
  unit: string;
  /** Whether its axis is logarithmic. */
  log: boolean;
  /** Place and size in Grafana's grid, which has 24 columns. */
  gridPos: { x: number; y: number; w: number; h: number };
  queries: { expression: string; legend: string }[];
}

interface PanelJson {
  title: string;
  type: string;
  description?: string;
  gridPos: Panel['gridPos'];
  fieldConfig?: { defaults: { unit: string; custom?: { scaleDistribution?: { type: string } } } };
  targets?: { expr: string; legendFormat: string }[];
}

/**
 * The panels of deploy/grafana, rows with titles among them.
 * @param rateInterval what rates are taken over
 */
export function readDashboard(rateInterval: string): Panel[] {
  const file = join(packageRoot, 'deploy', 'grafana', 'dashboards', 'pgembedder.json');
  const { panels } = JSON.parse(readFileSync(file, 'utf8')) as { panels: PanelJson[] };
  return panels.map(({ title, type, description = '', gridPos, fieldConfig, targets = [] }) => ({
    title,
    type,
    description,
    gridPos,
    unit: fieldConfig?.defaults.unit ?? '',
    log: fieldConfig?.defaults.custom?.scaleDistribution?.type === 'log',
    queries: targets.map(({ expr, legendFormat }) => ({
      // As Grafana does with 'All' chosen.
      expression: expr.replaceAll('$__rate_interval', rateInterval).replaceAll('$pipeline', '.*'),
      legend: legendFormat,
    })),
  }));
}
