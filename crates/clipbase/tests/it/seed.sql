CREATE TYPE "public"."job_status" AS ENUM('queued', 'processing', 'done', 'failed');
CREATE TABLE "api_keys" (
	"id" uuid PRIMARY KEY DEFAULT gen_random_uuid() NOT NULL,
	"name" varchar(128) NOT NULL,
	"key_hash" varchar(128) NOT NULL,
	"scopes" varchar(256) DEFAULT '',
	"rate_limit_per_min" integer DEFAULT 60,
	"created_at" timestamp with time zone DEFAULT now() NOT NULL,
	"revoked_at" timestamp with time zone
);
CREATE TABLE "job_events" (
	"id" uuid PRIMARY KEY DEFAULT gen_random_uuid() NOT NULL,
	"job_id" uuid NOT NULL,
	"ts" timestamp with time zone DEFAULT now() NOT NULL,
	"type" varchar(64) NOT NULL,
	"data" jsonb
);
CREATE TABLE "jobs" (
	"id" uuid PRIMARY KEY DEFAULT gen_random_uuid() NOT NULL,
	"status" "job_status" DEFAULT 'queued' NOT NULL,
	"priority" varchar(16) DEFAULT 'normal' NOT NULL,
	"shard" integer DEFAULT 0 NOT NULL,
	"source_type" varchar(16) NOT NULL,
	"source_key" varchar(512),
	"source_url" varchar(1024),
	"start_sec" integer NOT NULL,
	"end_sec" integer NOT NULL,
	"with_subtitles" boolean DEFAULT false NOT NULL,
	"burn_subtitles" boolean DEFAULT false NOT NULL,
	"subtitle_lang" varchar(16) DEFAULT 'auto',
	"progress" integer DEFAULT 0 NOT NULL,
	"attempts" integer DEFAULT 0 NOT NULL,
	"last_heartbeat_at" timestamp with time zone,
	"result_video_key" varchar(512),
	"result_srt_key" varchar(512),
	"error_code" varchar(64),
	"error_message" text,
	"created_at" timestamp with time zone DEFAULT now() NOT NULL,
	"updated_at" timestamp with time zone DEFAULT now() NOT NULL,
	"expires_at" timestamp with time zone
);
ALTER TABLE "job_events" ADD CONSTRAINT "job_events_job_id_jobs_id_fk" FOREIGN KEY ("job_id") REFERENCES "public"."jobs"("id") ON DELETE cascade ON UPDATE no action;
CREATE INDEX "idx_api_keys_active" ON "api_keys" USING btree ("key_hash","revoked_at");
CREATE INDEX "idx_job_events_job_id_ts" ON "job_events" USING btree ("job_id","ts");
CREATE INDEX "idx_jobs_status_created_at" ON "jobs" USING btree ("status","created_at");
CREATE INDEX "idx_jobs_expires_at" ON "jobs" USING btree ("expires_at");
