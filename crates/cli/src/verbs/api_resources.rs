//! `api-resources`: what the server has.

use backstay_api::resources::Resource;

use crate::discovery;
use crate::error::{Failure, Outcome};
use crate::output::grid;
use crate::session::App;

/// Show the types of objects that the server has
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// Only types that live in namespaces; =false: only those that do not
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    namespaced: Option<bool>,
    /// Only of this group
    #[arg(long, value_name = "GROUP")]
    api_group: Option<String>,
    /// Only types that know these verbs
    #[arg(long, value_name = "VERB", value_delimiter = ',')]
    verbs: Vec<String>,
    /// Only of these categories
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    categories: Vec<String>,
    /// Leave out the headers
    #[arg(long)]
    no_headers: bool,
    /// name or kind
    #[arg(long, value_name = "FIELD")]
    sort_by: Option<String>,
    /// wide or name
    #[arg(short, long, value_name = "FORMAT")]
    output: Option<String>,
}

pub async fn run(app: &App, args: Args) -> Outcome {
    let wide = match args.output.as_deref() {
        None | Some("" | "name") => false,
        Some("wide") => true,
        Some(other) => return Err(Failure::plain(format!("--output {other} is not available"))),
    };
    let session = app.connect().await?;
    let mut resources = preferred(session.resolver.all().await?);
    resources.retain(|resource| wanted(&args, resource));
    match args.sort_by.as_deref() {
        None => {}
        Some("name") => resources.sort_by(|a, b| a.plural.cmp(&b.plural)),
        Some("kind") => resources.sort_by(|a, b| a.kind.cmp(&b.kind)),
        Some(_) => return Err(Failure::plain("--sort-by accepts only name or kind")),
    }
    if args.output.as_deref() == Some("name") {
        return session
            .io
            .out(&resources.iter().map(|resource| discovery::resource_name(resource) + "\n").collect::<String>());
    }
    let header =
        format!("NAME\tSHORTNAMES\tAPIVERSION\tNAMESPACED\tKIND{}", if wide { "\tVERBS\tCATEGORIES" } else { "" });
    let rows = resources.iter().map(|resource| row(resource, wide));
    let rows: Vec<String> = (!args.no_headers).then_some(header).into_iter().chain(rows).collect();
    session.io.out(&grid::layout(&rows))
}

/// Of each group, the version that the server lists first.
fn preferred(all: &[Resource]) -> Vec<Resource> {
    let mut versions: Vec<(&str, &str)> = Vec::new();
    for resource in all {
        if !versions.iter().any(|(group, _)| *group == resource.group) {
            versions.push((&resource.group, &resource.version));
        }
    }
    let mut kept: Vec<Resource> =
        all.iter().filter(|resource| versions.contains(&(&resource.group, &resource.version))).cloned().collect();
    kept.sort_by(|a, b| a.group.cmp(&b.group).then(a.plural.cmp(&b.plural)));
    kept
}

fn wanted(args: &Args, resource: &Resource) -> bool {
    let has = |list: &[String], wanted: &[String]| wanted.iter().all(|wanted| list.contains(wanted));
    args.namespaced.is_none_or(|namespaced| namespaced == resource.namespaced)
        && args.api_group.as_ref().is_none_or(|group| *group == resource.group)
        && has(&resource.verbs, &args.verbs)
        && has(&resource.categories, &args.categories)
}

fn row(resource: &Resource, wide: bool) -> String {
    let mut cells = vec![
        resource.plural.clone(),
        resource.short_names.join(","),
        resource.api_version(),
        resource.namespaced.to_string(),
        resource.kind.clone(),
    ];
    if wide {
        cells.push(resource.verbs.join(","));
        cells.push(resource.categories.join(","));
    }
    cells.join("\t")
}
