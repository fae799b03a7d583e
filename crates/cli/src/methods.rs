//! `towpath methods`

use crate::{args::MethodsArgs, exit::Failure, token};
use std::io::{Write, stdout};
use tokio::time::Instant;
use towpath::{
    CodecId,
    router::{METHODS, MethodInfo},
};

pub(crate) async fn run(args: MethodsArgs) -> Result<(), Failure> {
    let token = token::read(&args.token, &[])?;
    let deadline = Instant::now() + args.timeout;
    let address = args.address.to_string();
    let client = args.address.client(&args.tls, args.timeout)?.connect(&address).await?;
    let left = deadline.saturating_duration_since(Instant::now());
    let mut call = client.request(METHODS).body(&()).timeout(left);
    if let Some(token) = token {
        call = call.authorization(token.to_authorization());
    }
    let list: Vec<MethodInfo> = call.send().await?;
    let text = if args.json {
        serde_json::to_string(&list).map_err(|error| Failure::Other(error.to_string()))? + "\n"
    } else {
        table(&list)
    };
    let mut out = stdout().lock();
    let written = out.write_all(text.as_bytes()).and_then(|()| out.flush());
    written.map_err(|error| Failure::Other(format!("stdout cannot be written: {error}")))
}

/// A line for each: name, codecs, flags.
fn table(list: &[MethodInfo]) -> String {
    // A peer's text does not get to steer the terminal.
    let clean = |text: &str| -> String { text.chars().filter(|c| !c.is_control()).collect() };
    let rows: Vec<[String; 3]> = list
        .iter()
        .map(|method| [clean(&method.name), codecs(&method.codecs), clean(&method.flags.join(", "))])
        .collect();
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let (name, codec) = (width(0), width(1));
    rows.iter()
        .map(|row| format!("{:name$}  {:codec$}  {}", row[0], row[1], row[2]).trim_end().to_owned() + "\n")
        .collect()
}

fn codecs(list: &[u8]) -> String {
    if list.is_empty() {
        return "any".to_owned();
    }
    let name = |id: &u8| match CodecId(*id) {
        CodecId::RAW => "raw".to_owned(),
        CodecId::JSON => "json".to_owned(),
        CodecId::PROTOBUF => "protobuf".to_owned(),
        CodecId(other) => other.to_string(),
    };
    list.iter().map(name).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table() {
        let list: Vec<MethodInfo> = serde_json::from_str(
            r#"[{"name":"A.Long","codecs":[1,2],"flags":["idempotent","spawned"]},
                {"name":"B\u001b.C"},{"name":"D.E","codecs":[0,16],"flags":[],"more":1}]"#,
        )
        .unwrap();
        assert_eq!(
            table(&list),
            "A.Long  json, protobuf  idempotent, spawned\nB.C     any\nD.E     raw, 16\n"
        );
        assert_eq!(table(&[]), "");
    }
}
