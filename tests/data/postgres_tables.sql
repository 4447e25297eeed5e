SET statement_timeout = 0;
SET lock_timeout = 0;
SET idle_in_transaction_session_timeout = 0;
SET transaction_timeout = 0;
SET client_encoding = 'UTF8';
SET standard_conforming_strings = on;
SELECT pg_catalog.set_config('search_path', '', false);
SET check_function_bodies = false;
SET xmloption = content;
SET client_min_messages = warning;
SET row_security = off;
SET default_tablespace = '';
SET default_table_access_method = heap;
CREATE TABLE public.old_chats (
    id integer NOT NULL,
    session_id uuid NOT NULL,
    message jsonb NOT NULL,
    created_at timestamp with time zone DEFAULT now() NOT NULL
);
CREATE SEQUENCE public.old_chats_id_seq
    AS integer
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;
ALTER SEQUENCE public.old_chats_id_seq OWNED BY public.old_chats.id;
CREATE TABLE public.old_json (
    id integer NOT NULL,
    key character varying NOT NULL,
    value json[]
);
CREATE SEQUENCE public.old_json_id_seq
    AS integer
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;
ALTER SEQUENCE public.old_json_id_seq OWNED BY public.old_json.id;
CREATE TABLE public.old_jsonb (
    id integer NOT NULL,
    key character varying NOT NULL,
    value jsonb[]
);
CREATE SEQUENCE public.old_jsonb_id_seq
    AS integer
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;
ALTER SEQUENCE public.old_jsonb_id_seq OWNED BY public.old_jsonb.id;
ALTER TABLE ONLY public.old_chats ALTER COLUMN id SET DEFAULT nextval('public.old_chats_id_seq'::regclass);
ALTER TABLE ONLY public.old_json ALTER COLUMN id SET DEFAULT nextval('public.old_json_id_seq'::regclass);
ALTER TABLE ONLY public.old_jsonb ALTER COLUMN id SET DEFAULT nextval('public.old_jsonb_id_seq'::regclass);
INSERT INTO public.old_chats VALUES (1, '00000000-0000-0000-0000-000000000007', '{"data": {"id": "m0", "name": null, "type": "system", "content": "Be brief.", "additional_kwargs": {}, "response_metadata": {}}, "type": "system"}', '2026-11-29 23:27:02.648903+00');
INSERT INTO public.old_chats VALUES (2, '00000000-0000-0000-0000-000000000007', '{"data": {"id": null, "name": "alice", "type": "human", "content": "What is this? 🐈", "example": true, "additional_kwargs": {}, "response_metadata": {}}, "type": "human"}', '2026-11-29 23:27:02.648903+00');
INSERT INTO public.old_chats VALUES (3, '00000000-0000-0000-0000-000000000007', '{"data": {"id": "m2", "name": null, "type": "human", "content": ["Look:", {"url": "https://example.com/cat.png", "type": "image"}], "additional_kwargs": {}, "response_metadata": {}}, "type": "human"}', '2026-11-29 23:27:02.648903+00');
INSERT INTO public.old_chats VALUES (4, '00000000-0000-0000-0000-000000000007', '{"data": {"id": "m3", "name": null, "type": "ai", "content": "Let me look.", "tool_calls": [{"id": "c1", "args": {"at": [1, 2.5, null]}, "name": "look", "type": "tool_call"}, {"id": null, "args": {}, "name": "ask", "type": "tool_call"}], "usage_metadata": {"input_tokens": 3, "total_tokens": 7, "output_tokens": 4}, "additional_kwargs": {"refusal": null}, "response_metadata": {"model_name": "gpt"}, "invalid_tool_calls": [{"id": "c2", "args": "{", "name": "x", "type": "invalid_tool_call", "error": "no JSON"}]}, "type": "ai"}', '2026-11-29 23:27:02.648903+00');
INSERT INTO public.old_chats VALUES (5, '00000000-0000-0000-0000-000000000007', '{"data": {"id": null, "name": "look", "type": "tool", "status": "error", "content": "A cat.", "artifact": {"ears": 2}, "tool_call_id": "c1", "additional_kwargs": {}, "response_metadata": {}}, "type": "tool"}', '2026-11-29 23:27:02.648903+00');
INSERT INTO public.old_chats VALUES (6, '00000000-0000-0000-0000-000000000007', '{"data": {"id": null, "name": "f", "type": "function", "content": "old", "additional_kwargs": {}, "response_metadata": {}}, "type": "function"}', '2026-11-29 23:27:02.648903+00');
INSERT INTO public.old_chats VALUES (7, '00000000-0000-0000-0000-000000000007', '{"data": {"id": null, "name": null, "role": "critic", "type": "chat", "content": "hm", "additional_kwargs": {}, "response_metadata": {}}, "type": "chat"}', '2026-11-29 23:27:02.648903+00');
INSERT INTO public.old_chats VALUES (8, '00000000-0000-0000-0000-000000000007', '{"data": {"id": null, "name": null, "role": "ai", "type": "chat", "content": "hm", "additional_kwargs": {}, "response_metadata": {}}, "type": "chat"}', '2026-11-29 23:27:02.648903+00');
INSERT INTO public.old_chats VALUES (9, '00000000-0000-0000-0000-000000000007', '{"data": {"id": null, "name": null, "type": "ai", "content": [{"type": "reasoning", "reasoning": "Hm."}, {"text": "A cat.", "type": "text"}], "tool_calls": [], "usage_metadata": null, "additional_kwargs": {}, "response_metadata": {}, "invalid_tool_calls": []}, "type": "ai"}', '2026-11-29 23:27:02.648903+00');
INSERT INTO public.old_json VALUES (1, 'a', '{"{\"role\":\"system\",\"additional_kwargs\":{},\"blocks\":[{\"block_type\":\"text\",\"text\":\"Be brief.\"}]}","{\"role\":\"user\",\"additional_kwargs\":{\"name\":\"alice\",\"n\":[1,null]},\"blocks\":[{\"block_type\":\"text\",\"text\":\"What is this? 🐈\"}]}","{\"role\":\"user\",\"additional_kwargs\":{},\"blocks\":[{\"block_type\":\"text\",\"text\":\"Look:\"},{\"block_type\":\"image\",\"image\":\"iVBORw==\",\"path\":null,\"url\":null,\"image_mimetype\":\"image/png\",\"detail\":\"low\"},{\"block_type\":\"image\",\"image\":null,\"path\":null,\"url\":\"https://example.com/cat.png\",\"image_mimetype\":\"image/png\",\"detail\":null},{\"block_type\":\"document\",\"data\":\"JVBERg==\",\"path\":null,\"url\":null,\"title\":\"cat.pdf\",\"document_mimetype\":\"application/pdf\"},{\"block_type\":\"cache\",\"cache_control\":{\"type\":\"ephemeral\",\"ttl\":\"5m\"}}]}","{\"role\":\"assistant\",\"additional_kwargs\":{},\"blocks\":[{\"block_type\":\"thinking\",\"content\":\"Hm.\",\"num_tokens\":3,\"additional_information\":{\"signature\":\"s\"}},{\"block_type\":\"text\",\"text\":\"Let me look.\"},{\"block_type\":\"tool_call\",\"tool_call_id\":\"c1\",\"tool_name\":\"look\",\"tool_kwargs\":{\"at\":[1,2.5]}},{\"block_type\":\"tool_call\",\"tool_call_id\":null,\"tool_name\":\"odd\",\"tool_kwargs\":\"{no JSON\"},{\"block_type\":\"tool_call\",\"tool_call_id\":\"c3\",\"tool_name\":\"none\",\"tool_kwargs\":{}}]}","{\"role\":\"tool\",\"additional_kwargs\":{\"tool_call_id\":\"c1\"},\"blocks\":[{\"block_type\":\"text\",\"text\":\"A cat.\"}]}","{\"role\":\"assistant\",\"additional_kwargs\":{\"tool_calls\":[{\"id\":\"c2\",\"type\":\"function\",\"function\":{\"name\":\"f\",\"arguments\":\"{}\"}}]},\"blocks\":[]}","{\"role\":\"chatbot\",\"additional_kwargs\":{},\"blocks\":[{\"block_type\":\"text\",\"text\":\"old\"}]}","{\"role\":\"assistant\",\"additional_kwargs\":{},\"blocks\":[{\"block_type\":\"citable\",\"title\":\"t\",\"source\":\"s\",\"content\":[{\"block_type\":\"text\",\"text\":\"cited\"}]},{\"block_type\":\"citation\",\"cited_content\":{\"block_type\":\"text\",\"text\":\"cited\"},\"source\":\"s\",\"title\":\"t\",\"additional_location_info\":{\"page\":1}}]}","{\"role\":\"assistant\",\"additional_kwargs\":{},\"blocks\":[{\"block_type\":\"text\",\"text\":\"\"}]}","{\"role\":\"assistant\",\"additional_kwargs\":{},\"blocks\":[]}"}');
INSERT INTO public.old_json VALUES (2, 'none', '{}');
INSERT INTO public.old_jsonb VALUES (1, 'a', '{"{\"role\": \"system\", \"blocks\": [{\"text\": \"Be brief.\", \"block_type\": \"text\"}], \"additional_kwargs\": {}}","{\"role\": \"user\", \"blocks\": [{\"text\": \"What is this? 🐈\", \"block_type\": \"text\"}], \"additional_kwargs\": {\"n\": [1, null], \"name\": \"alice\"}}","{\"role\": \"user\", \"blocks\": [{\"text\": \"Look:\", \"block_type\": \"text\"}, {\"url\": null, \"path\": null, \"image\": \"iVBORw==\", \"detail\": \"low\", \"block_type\": \"image\", \"image_mimetype\": \"image/png\"}, {\"url\": \"https://example.com/cat.png\", \"path\": null, \"image\": null, \"detail\": null, \"block_type\": \"image\", \"image_mimetype\": \"image/png\"}, {\"url\": null, \"data\": \"JVBERg==\", \"path\": null, \"title\": \"cat.pdf\", \"block_type\": \"document\", \"document_mimetype\": \"application/pdf\"}, {\"block_type\": \"cache\", \"cache_control\": {\"ttl\": \"5m\", \"type\": \"ephemeral\"}}], \"additional_kwargs\": {}}","{\"role\": \"assistant\", \"blocks\": [{\"content\": \"Hm.\", \"block_type\": \"thinking\", \"num_tokens\": 3, \"additional_information\": {\"signature\": \"s\"}}, {\"text\": \"Let me look.\", \"block_type\": \"text\"}, {\"tool_name\": \"look\", \"block_type\": \"tool_call\", \"tool_kwargs\": {\"at\": [1, 2.5]}, \"tool_call_id\": \"c1\"}, {\"tool_name\": \"odd\", \"block_type\": \"tool_call\", \"tool_kwargs\": \"{no JSON\", \"tool_call_id\": null}, {\"tool_name\": \"none\", \"block_type\": \"tool_call\", \"tool_kwargs\": {}, \"tool_call_id\": \"c3\"}], \"additional_kwargs\": {}}","{\"role\": \"tool\", \"blocks\": [{\"text\": \"A cat.\", \"block_type\": \"text\"}], \"additional_kwargs\": {\"tool_call_id\": \"c1\"}}","{\"role\": \"assistant\", \"blocks\": [], \"additional_kwargs\": {\"tool_calls\": [{\"id\": \"c2\", \"type\": \"function\", \"function\": {\"name\": \"f\", \"arguments\": \"{}\"}}]}}","{\"role\": \"chatbot\", \"blocks\": [{\"text\": \"old\", \"block_type\": \"text\"}], \"additional_kwargs\": {}}","{\"role\": \"assistant\", \"blocks\": [{\"title\": \"t\", \"source\": \"s\", \"content\": [{\"text\": \"cited\", \"block_type\": \"text\"}], \"block_type\": \"citable\"}, {\"title\": \"t\", \"source\": \"s\", \"block_type\": \"citation\", \"cited_content\": {\"text\": \"cited\", \"block_type\": \"text\"}, \"additional_location_info\": {\"page\": 1}}], \"additional_kwargs\": {}}","{\"role\": \"assistant\", \"blocks\": [{\"text\": \"\", \"block_type\": \"text\"}], \"additional_kwargs\": {}}","{\"role\": \"assistant\", \"blocks\": [], \"additional_kwargs\": {}}"}');
INSERT INTO public.old_jsonb VALUES (2, 'none', '{}');
SELECT pg_catalog.setval('public.old_chats_id_seq', 9, true);
SELECT pg_catalog.setval('public.old_json_id_seq', 2, true);
SELECT pg_catalog.setval('public.old_jsonb_id_seq', 2, true);
ALTER TABLE ONLY public.old_chats
    ADD CONSTRAINT old_chats_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.old_json
    ADD CONSTRAINT "old_json:unique_key" UNIQUE (key);
ALTER TABLE ONLY public.old_json
    ADD CONSTRAINT old_json_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.old_jsonb
    ADD CONSTRAINT "old_jsonb:unique_key" UNIQUE (key);
ALTER TABLE ONLY public.old_jsonb
    ADD CONSTRAINT old_jsonb_pkey PRIMARY KEY (id);
CREATE INDEX idx_old_chats_session_id ON public.old_chats USING btree (session_id);
CREATE INDEX "old_json:idx_key" ON public.old_json USING btree (key);
CREATE INDEX "old_jsonb:idx_key" ON public.old_jsonb USING btree (key);
