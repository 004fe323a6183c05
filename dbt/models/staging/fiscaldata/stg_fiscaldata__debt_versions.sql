select
    record_date as debt_date,
    debt_held_public_amt as held_by_public_usd,
    intragov_hold_amt as intragovernmental_usd,
    tot_pub_debt_out_amt as total_usd,
    known_from as loaded_at,
    closed_at
from {{ row_versions(source('fiscaldata', 'fiscaldata_debt')) }} as raw
